"""One model, all rows, in turns: what each allows by arithmetic, and what the clock says of it.

- ``bound`` = F_dense / F_pruned, true FLOPs of the prefill, all tokens, probes included;
- ``realised`` = T_dense / T_pruned of the same prefill: medians, same process, same weights, runs taken in turns;
- ``efficiency`` = realised / bound;
- ``products_efficiency``: that of the decoder's linear layers by themselves on as many tokens: what the machine allows.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from transformers import PreTrainedModel

from visionflow.answering import enough_memory
from visionflow.bench.clock import Clock, ProcessorClock, clock_for
from visionflow.bench.passes import answer
from visionflow.bench.products import linear_layers, product_times
from visionflow.bench.prompt import PICTURE, BenchPrompt, make_prompt
from visionflow.bench.results import ENCODER, ModelResult, variant_result
from visionflow.bench.rounds import Summary, TimeLimit, in_turns
from visionflow.bench.rows import Variant, all_methods, bench_rows, rows_that_fit
from visionflow.bench.subject import Subject
from visionflow.bench.unclocked import Unclocked, run_unclocked, running_as
from visionflow.engines.hf.families import family_of
from visionflow.engines.hf.layer_kinds import depth_of


@dataclass(frozen=True)
class Settings:
    """What is run on each model.

    Attributes:
        methods: as `visionflow.bench.rows.bench_rows` takes them; all that fit the model if none are named.
        batch: prompts at a time.
        image_tokens: of each prompt; None for one picture of the model.
        text_tokens: of each prompt.
        new_tokens: length of the answers; the first token comes with the prefill.
        repeats: rounds, at most.
        time_limit_s: no round is begun that would end after it, but one is always run.
    """

    methods: Sequence[str] = ()
    batch: int = 1
    image_tokens: int | None = None
    text_tokens: int = 64
    new_tokens: int = 32
    repeats: int = 5
    time_limit_s: float = 480.0

    @property
    def prompt_tokens(self) -> int:
        """Tokens of one prefill, all samples."""
        return self.batch * ((self.image_tokens or PICTURE) + self.text_tokens)


_PRODUCTS = 5  # rounds of one layer's products for each of the model's

Step = Callable[[str, int, int], None]
"""Is told what has just been done, and how many steps of how many are done."""


def measure(
    subject: Subject, settings: Settings, on_step: Step = lambda *_: None, clock: Clock | None = None
) -> ModelResult:
    """Bench one model.

    Args:
        subject: the model.
        settings: what is run.
        on_step: called after each step.
        clock: of the rounds; by default the best there is for the device.

    Raises:
        VisionFlowError: a setting is out of range, there is not enough memory, or the model computes with NaN.
    """
    model, limit = subject.model, TimeLimit(settings.time_limit_s)
    prompt = make_prompt(model, settings.batch, settings.image_tokens, settings.text_tokens)
    layers, steps = depth_of(model.config), settings.new_tokens - 1
    architecture = model.config.model_type
    rows, left_out = (
        (bench_rows(settings.methods, layers, architecture), [])
        if settings.methods
        else rows_that_fit(all_methods(), layers, architecture)
    )
    total = len(rows) + settings.repeats * (len(rows) + 1)
    with enough_memory(model.device, "give fewer --layers, a smaller --batch or fewer --image-tokens"):
        inputs = _encoded(model, prompt)
        unclocked = {}
        for row in rows:
            unclocked[row.name] = run_unclocked(row, model, inputs, prompt.image_tokens, steps)
            on_step(f"{row.name}: memory and probes", len(unclocked), total)
        products = _products(model, unclocked, _PRODUCTS * settings.repeats)
        rounds = _Rounds(model, prompt, inputs, rows, steps, clock or clock_for(model.device))
        rounds.run(settings.repeats, limit, lambda what, done: on_step(what, len(rows) + done, total))
    return ModelResult(
        model=subject.name,
        layers=layers,
        dtype=str(model.dtype).removeprefix("torch."),
        weights_bytes=sum(weight.nbytes for weight in model.parameters()),
        batch=settings.batch,
        image_tokens=prompt.image_tokens,
        text_tokens=prompt.text_tokens,
        new_tokens=settings.new_tokens,
        notes=[note for note in (subject.note, *left_out) if note],
        order=rounds.order,
        encoder_s=Summary.of([lap for [lap] in rounds.laps[ENCODER]]),
        rows=[variant_result(row, unclocked, products, rounds.laps, rounds.processor, steps) for row in rows],
    )


@torch.inference_mode()
def _encoded(model: PreTrainedModel, prompt: BenchPrompt) -> dict[str, Any]:
    return prompt.decoder_inputs(prompt.features(model))


def _products(model: PreTrainedModel, unclocked: Mapping[str, Unclocked], rounds: int) -> dict[int, list[float]]:
    """Seconds of the products of one decoder layer, by tokens; empty where its weights are no linear layers.

    On a CPU in processor time.
    """
    layers = linear_layers(family_of(model).layers_of(model)[0])
    counts = {n for each in unclocked.values() for n in each.rows}
    clock = ProcessorClock() if model.device.type == "cpu" else clock_for(model.device)
    return product_times(layers, counts, rounds, clock) if layers else {}


class _Rounds:
    """The clocked runs: in each round the vision encoder and every row once, each round starting with the next one.

    Attributes:
        laps: of each run, by row.
        processor: the same in processor time.
        order: of each round.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        prompt: BenchPrompt,
        inputs: dict[str, Any],
        rows: Sequence[Variant],
        steps: int,
        clock: Clock,
    ) -> None:
        self._model, self._prompt, self._inputs, self._steps, self._clock = model, prompt, inputs, steps, clock
        self._rows = {row.name: row for row in rows}
        self.laps: dict[str, list[list[float]]] = {name: [] for name in (ENCODER, *self._rows)}
        self.processor: dict[str, list[list[float]]] = {name: [] for name in self.laps}
        self.order: list[list[str]] = []

    def run(self, repeats: int, limit: TimeLimit, on_run: Callable[[str, int], None]) -> None:
        """At most `repeats` rounds, and no further one that would be too late."""
        longest = 0.0
        limit.lap()
        for turn in in_turns(list(self.laps), repeats):
            if self.order and longest > limit.left:
                return
            for place, name in enumerate(turn, start=1):
                laps, processor = self._once(name)
                self.laps[name].append(laps)
                self.processor[name].append(processor)
                on_run(f"{name}: round {len(self.order) + 1}", len(self.order) * len(turn) + place)
            self.order.append(turn)
            longest = max(longest, limit.lap())

    @torch.inference_mode()
    def _once(self, name: str) -> tuple[list[float], list[float]]:
        """Laps by the clock, and in seconds of this process's processor time."""
        spent: list[float] = []

        def mark() -> None:
            self._clock.mark()
            spent.append(time.process_time())

        if name == ENCODER:
            mark()
            self._prompt.encode(self._model)
            mark()
        else:
            with running_as(self._rows[name], self._model):
                answer(self._model, self._inputs, self._steps, mark)
        return self._clock.laps(), [end - start for start, end in pairwise(spent)]
