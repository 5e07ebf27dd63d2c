"""The figures of the benches, drawn from what the commands print as JSON."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from visionflow.bench.rounds import repeated
from visionflow.report.figures.plotting import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    legend_above,
    new_figure,
    save,
    tidy,
)

_AXES = {"image_tokens": "image tokens", "batch": "batch", "layers": "decoder layers"}
_LONG = 45  # letters of a label of which no three stand side by side
_COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY)


def draw_bench(found: Mapping[str, Any], path: Path) -> None:
    """Figures 7 and 8 of the HiMAP paper: time to the first token and per token, by method, the models side by side.

    Args:
        found: what ``visionflow bench --json`` prints.
        path: of the picture.

    Raises:
        VisionFlowError: matplotlib is missing, or the file cannot be written.
    """
    models = found["models"]
    names = list(dict.fromkeys(row["name"] for model in models for row in model["rows"]))
    figure = new_figure(max(9.0, 2.0 + 0.6 * len(names) * len(models) * 2), 4.6)
    first, decoding = figure.subplots(1, 2)
    for number, (model, colour) in enumerate(zip(models, cycle(_COLOURS), strict=False)):
        rows = {row["name"]: row for row in model["rows"]}
        places = [names.index(name) + (number + 0.5) / len(models) * 0.8 - 0.4 for name in rows]
        _first_tokens(first, places, list(rows.values()), _label(model, models), model, colour, 0.72 / len(models))
        _bars(decoding, places, [row["decode_s"] for row in rows.values()], colour, 0.72 / len(models))
    _dense_line(first, models)
    first.set_title("Time to the first token", fontsize=11)
    decoding.set_title("Time per further token", fontsize=11)
    for axis in (first, decoding):
        axis.set_xticks(range(len(names)), names, rotation=20)
        axis.set_ylabel("seconds")
        axis.set_ylim(bottom=0)
        tidy(axis)
    handles, labels = first.get_legend_handles_labels()
    columns = 2 if max(map(len, labels)) > _LONG else 3
    figure.legend(handles, labels, loc="outside lower center", ncols=min(columns, len(labels)), frameon=False)
    figure.suptitle(_caption(found), fontsize=9)
    save(figure, path)


def draw_scaling(found: Mapping[str, Any], path: Path) -> None:
    """Time and FLOPs of the prefill against each axis, double-logarithmic, a line per row with its exponent.

    A point that was timed once is hollow, and counts for no exponent of time.

    Args:
        found: what ``visionflow scaling --json`` prints.
        path: of the picture.

    Raises:
        VisionFlowError: as of `draw_bench`.
    """
    figure = new_figure(12, 6.2 + 0.4 * len(found["rows"]))
    axes = figure.subplots(2, len(found["axes"]), sharey="row", squeeze=False)
    for column, (name, points) in enumerate(found["axes"].items()):
        for row, (quantity, label) in enumerate((("prefill_s", "prefill, seconds"), ("flops", "prefill, TFLOPs"))):
            axis = axes[row][column]
            _growth(axis, name, points, found, quantity)
            axes[row][0].set_ylabel(label)
            axis.set_xlabel(_AXES[name])
            tidy(axis)
    figure.suptitle(
        f"{found['model']}, {found['layers']} layers, {found['dtype']}, {found['text_tokens']} text tokens; "
        f"{found['machine']['device']}, {found['machine']['processor']}, {found['machine']['threads']} threads; "
        "hollow points were timed once",
        fontsize=9,
    )
    save(figure, path)


def _growth(axis: Any, name: str, points: Sequence[Mapping[str, Any]], found: Mapping[str, Any], quantity: str) -> None:
    fitted = {each["row"]: each[quantity] for each in found["exponents"] if each["axis"] == name}
    for row_name, colour, marker in zip(found["rows"], cycle(_COLOURS), cycle("os^Dv"), strict=False):
        measured = [(each[name], row) for each in points for row in each["rows"] if row["name"] == row_name]
        if measured:
            exponent = fitted.get(row_name)
            label = row_name if exponent is None else f"{row_name}, exponent {exponent:.2f}"
            values = [row["flops"] / 1e12 if quantity == "flops" else row["prefill_s"]["median"] for _, row in measured]
            sizes = [size for size, _ in measured]
            axis.plot(sizes, values, color=colour, marker=marker, label=label)
            once = [
                place
                for place, (_, row) in enumerate(measured)
                if quantity != "flops" and not repeated(row["prefill_s"])
            ]
            axis.plot(
                [sizes[place] for place in once],
                [values[place] for place in once],
                color=colour,
                marker=marker,
                markerfacecolor="white",
                linestyle="none",
            )
    axis.set_xscale("log")
    axis.set_yscale("log")
    sizes = [each[name] for each in points]
    axis.set_xticks(sizes, [str(size) for size in sizes], rotation=45 if len(sizes) > 6 else 0)
    axis.set_xticks([], minor=True)
    if points:
        legend_above(axis)


def _first_tokens(
    axis: Any,
    places: Sequence[float],
    rows: Sequence[Mapping[str, Any]],
    name: str,
    model: Mapping[str, Any],
    colour: str,
    width: float,
) -> None:
    """Vision encoder below, prefill on top; the whiskers are the quartiles of their sum."""
    encoder = model["encoder_s"]["median"]
    axis.bar(
        places,
        [encoder] * len(rows),
        width,
        color=colour,
        alpha=0.35,
        hatch="//",
        edgecolor="white",
        label=f"{name}: vision encoder",
    )
    totals = [row["first_token_s"] for row in rows]
    axis.bar(
        places,
        [each["median"] - encoder for each in totals],
        width,
        bottom=encoder,
        color=colour,
        label=f"{name}: prefill",
        yerr=_reach(totals),
        capsize=3,
    )


def _label(model: Mapping[str, Any], models: Sequence[Mapping[str, Any]]) -> str:
    """The model, and the size of its prompts where there are several."""
    sizes = {(each["batch"], each["image_tokens"]) for each in models if each["model"] == model["model"]}
    if len(sizes) == 1:
        return f"{model['model']}, {model['layers']} layers"
    return f"{model['model']}, batch {model['batch']}, {model['image_tokens']} image tokens"


def _bars(
    axis: Any, places: Sequence[float], values: Sequence[Mapping[str, Any] | None], colour: str, width: float
) -> None:
    known = [(place, value) for place, value in zip(places, values, strict=True) if value is not None]
    if known:
        where, each = zip(*known, strict=True)
        axis.bar(where, [value["median"] for value in each], width, color=colour, yerr=_reach(each), capsize=3)


def _dense_line(axis: Any, models: Sequence[Mapping[str, Any]]) -> None:
    """How long the smallest model takes unpruned, where there are several: does a larger one, pruned, beat it?"""
    if len({model["weights_bytes"] for model in models}) > 1:
        smallest = min(models, key=lambda model: model["weights_bytes"])
        axis.axhline(
            smallest["rows"][0]["first_token_s"]["median"],
            color="0.3",
            linestyle="--",
            linewidth=1,
            label=f"{smallest['model']}, unpruned",
        )


def _reach(values: Sequence[Mapping[str, Any]]) -> list[list[float]] | None:
    """Distances from each median down to the lower and up to the upper quartile; none of a single round."""
    if not all(map(repeated, values)):
        return None
    return [[each["median"] - each["q1"] for each in values], [each["q3"] - each["median"] for each in values]]


def _caption(found: Mapping[str, Any]) -> str:
    machine, models = found["machine"], found["models"]
    model = models[0]
    sizes = {(each["image_tokens"], each["batch"]) for each in models}
    size = f"{model['image_tokens']} image and " if len(sizes) == 1 else ""
    batch = f", batch {model['batch']}" if len(sizes) == 1 else ""
    return (
        f"{size}{model['text_tokens']} text tokens{batch}, {model['dtype']}; {machine['device']}, "
        f"{machine['processor']}, {machine['threads']} threads; "
        f"{'medians and quartiles' if repeated(model['rows'][0]['first_token_s']) else 'timed once'}"
    )
