"""How cost and time grow with image tokens, batch and depth, dense and pruned."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from visionflow.bench.clock import Clock, clock_for
from visionflow.bench.machine import free_memory
from visionflow.bench.passes import answer, check_numbers
from visionflow.bench.points import Points
from visionflow.bench.prompt import make_prompt
from visionflow.bench.rounds import Summary, TimeLimit, in_turns, repeated
from visionflow.bench.rows import rows_that_fit
from visionflow.bench.unclocked import dense_flops, running_as
from visionflow.core.plan import Plan
from visionflow.cost import DecoderShape, cost_of
from visionflow.engines.hf.families import family_of
from visionflow.engines.hf.layer_kinds import depth_of

Axis = Literal["image_tokens", "batch", "layers"]
AXES: tuple[Axis, ...] = ("image_tokens", "batch", "layers")
_POINT_S = 20.0  # a point is repeated for so long, and run at least once


@dataclass(frozen=True)
class Point:
    """One size of the prefill; `image_tokens` and the text are of each of the `batch` prompts."""

    image_tokens: int
    batch: int
    layers: int

    @property
    def words(self) -> str:
        """For people."""
        return f"{self.image_tokens} image tokens, batch {self.batch}, {self.layers} layers"


@dataclass(frozen=True)
class Grid:
    """The points: each axis is followed from the same base, the other two held there."""

    base: Point
    image_tokens: Sequence[int]
    batch: Sequence[int]
    layers: Sequence[int]

    def along(self, axis: Axis) -> list[Point]:
        """The points of one axis, the base among them, ascending."""
        values = sorted({*getattr(self, axis), getattr(self.base, axis)})
        return [Point(**(asdict(self.base) | {axis: value})) for value in values]

    def points(self) -> list[Point]:
        """All of them, each once."""
        return list(dict.fromkeys(point for axis in AXES for point in self.along(axis)))


@dataclass(frozen=True)
class Scaling:
    """What is run at each point.

    Attributes:
        grid: the points.
        methods: as `visionflow.bench.rows.bench_rows` takes them.
        text_tokens: of each prompt.
        repeats: rounds at each point, at most.
        time_limit_s: no point is begun that would end after it.
    """

    grid: Grid
    methods: Sequence[str]
    text_tokens: int = 64
    repeats: int = 3
    time_limit_s: float = 480.0


def scale(
    model: PreTrainedModel,
    scaling: Scaling,
    store: Points,
    on_step: Callable[[str, int, int], None] = lambda *_: None,
    clock: Clock | None = None,
) -> list[dict[str, Any]]:
    """Measure the points that are not in `store` yet, the cheapest first; each is stored as soon as it is done.

    Args:
        model: with at least as many decoder layers as any point.
        scaling: what is run.
        store: what was measured before.
        on_step: is told what has just been done, and how many points of how many are done.
        clock: by default the best there is for the device.

    Returns:
        The points that were left out, each with the reason ``why``.
    """
    clock = clock or clock_for(model.device)
    limit, seconds_per_flop, skipped = TimeLimit(scaling.time_limit_s), 0.0, []
    points = sorted(scaling.grid.points(), key=lambda point: _dense(model, point, scaling.text_tokens)[0])
    for done, point in enumerate(points, start=1):
        if (point.image_tokens, point.batch, point.layers) in store.known:
            continue
        flops, kv_bytes = _dense(model, point, scaling.text_tokens)
        why = _no_room(model, point, scaling.text_tokens, kv_bytes) or _no_time(limit, flops * seconds_per_flop)
        if not why:
            limit.lap()
            try:
                rows, rounds = _measure(model, point, scaling, limit, clock)
            except torch.OutOfMemoryError:
                why = f"out of memory on {model.device}"
            else:
                seconds_per_flop = limit.lap() / rounds / flops  # of one round: all rows
                store.add([asdict(point) | {"rows": rows}])
        if why:
            skipped.append(asdict(point) | {"why": why})
        on_step(point.words, done, len(points))
    return skipped


def by_axis(measured: Sequence[Mapping[str, Any]], base: Point) -> dict[Axis, list[Mapping[str, Any]]]:
    """The measured points of each axis, ascending: those whose other sizes are those of the base."""
    found: dict[Axis, list[Mapping[str, Any]]] = {}
    for axis in AXES:
        held = {name: size for name, size in asdict(base).items() if name != axis}
        found[axis] = sorted((each for each in measured if held.items() <= each.items()), key=lambda each: each[axis])
    return found


def exponents(axes: Mapping[Axis, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """By axis and row, the powers of the axis that FLOPs and time grow with: slopes fitted in double logarithms.

    FLOPs are exact; time is fitted to the points that were timed more than once, ``repeated`` of the ``points``, and is
    None where these are fewer than two.

    Args:
        axes: of `by_axis`; a row with a single point has no slope.
    """
    found = []
    for axis, points in axes.items():
        for name in dict.fromkeys(row["name"] for each in points for row in each["rows"]):
            of_row = [(each[axis], row) for each in points for row in each["rows"] if row["name"] == name]
            sizes = [size for size, _ in of_row]
            if len(sizes) > 1:
                timed = [(size, row["prefill_s"]["median"]) for size, row in of_row if repeated(row["prefill_s"])]
                fitted = {
                    "flops": slope(sizes, [row["flops"] for _, row in of_row]),
                    "prefill_s": slope(*zip(*timed, strict=True)) if len(timed) > 1 else None,
                }
                found.append({"axis": axis, "row": name, "points": len(sizes), "repeated": len(timed)} | fitted)
    return found


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The exponent a of ``value = c size^a`` with the least squares of the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


@contextmanager
def first_layers(model: PreTrainedModel, count: int) -> Iterator[None]:
    """The model with its first `count` decoder layers only; afterwards it is what it was."""
    decoder: Any = family_of(model).decoder_of(model)
    config = model.config.get_text_config()
    layers, depth, kinds = decoder.layers, config.num_hidden_layers, getattr(config, "layer_types", None)
    try:
        decoder.layers, config.num_hidden_layers = nn.ModuleList(list(layers)[:count]), count
        if kinds is not None:
            config.layer_types = kinds[:count]
        yield
    finally:
        decoder.layers, config.num_hidden_layers = layers, depth
        if kinds is not None:
            config.layer_types = kinds


def _measure(
    model: PreTrainedModel, point: Point, scaling: Scaling, limit: TimeLimit, clock: Clock
) -> tuple[list[dict[str, Any]], int]:
    """Every row of one point, and how many rounds were run."""
    with first_layers(model, point.layers):
        rows, _ = rows_that_fit(scaling.methods, depth_of(model.config), model.config.model_type)
        prompt = make_prompt(model, point.batch, point.image_tokens, scaling.text_tokens)
        inputs = prompt.decoder_inputs(prompt.noise(model))
        times: dict[str, list[float]] = {row.name: [] for row in rows}
        flops: dict[str, int] = {}
        spent = rounds = 0.0
        for turn in in_turns(rows, scaling.repeats + 1):
            if rounds and spent + spent / rounds > min(_POINT_S, limit.left):
                break
            for row in turn:
                with running_as(row, model) as trace:
                    check_numbers(answer(model, inputs, 0, clock.mark))
                flops[row.name] = (
                    trace.cost("flops").pruned if trace else dense_flops(model, prompt.ids, point.image_tokens)
                )
                times[row.name].append(clock.laps()[0])
                spent += times[row.name][-1]
            rounds += 1
    return [
        {
            "name": row.name,
            "method": row.settings,
            "flops": flops[row.name],
            # The first round warms up, where there was time for more.
            "prefill_s": asdict(Summary.of(times[row.name][1:] or times[row.name])),
        }
        for row in rows
    ], int(rounds)


def _dense(model: PreTrainedModel, point: Point, text_tokens: int) -> tuple[int, int]:
    """FLOPs and KV bytes of the unpruned prefill."""
    with first_layers(model, point.layers):
        shape = DecoderShape.from_config(model.config)
    counts = {"image_tokens": point.image_tokens, "text_tokens": text_tokens}
    cost = cost_of(Plan(), shape, "flops", **counts, bytes_per_element=model.dtype.itemsize)
    return point.batch * cost.dense, point.batch * cost.kv_bytes_dense


def _no_room(model: PreTrainedModel, point: Point, text_tokens: int, kv_bytes: int) -> str:
    """Why the point does not fit the memory, if so: keys and values, and twice what one layer holds at a time."""
    text = model.config.get_text_config()
    numbers = point.batch * (point.image_tokens + text_tokens) * (4 * text.intermediate_size + 10 * text.hidden_size)
    needed, free = kv_bytes + 2 * numbers * model.dtype.itemsize, free_memory(model.device)
    if needed <= free:
        return ""
    return f"it needs about {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free"


def _no_time(limit: TimeLimit, seconds: float) -> str:
    """Why the point does not fit the time, if so."""
    if seconds <= limit.left:
        return ""
    return f"it would take about {math.ceil(seconds)} s, and {max(0, math.floor(limit.left))} s are left"
