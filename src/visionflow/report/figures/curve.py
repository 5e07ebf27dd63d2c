"""Accuracy against cost, the ratio swept: one line per method and panel per task."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

from visionflow.errors import VisionFlowError
from visionflow.evaluation.pairs import Metric
from visionflow.evaluation.rows import NO_IMAGE, REFERENCE, Configuration
from visionflow.evaluation.summary import Line, TaskSummary
from visionflow.report.figures.plotting import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    new_figure,
    save,
    tidy,
)

_LABELS: dict[Metric, str] = {
    "accuracy": "accuracy",
    "cider": "CIDEr",
    "exact": "names exactly what is there",
    "f1": "F1 of the objects named",
    "names_every": "names every object (recall)",
}

# A colour, and for those who print in grey a marker.
_STYLES = {
    "oracle": (BLACK, "*"),
    "himap-paid": (VERMILION, "o"),
    "himap-received": (ORANGE, "s"),
    "fastv": (BLUE, "^"),
    "vtw": (PURPLE, "D"),
    "random-steps": (GREEN, "v"),
    "random": (SKY, "x"),
}


def points(tables: Sequence[TaskSummary], rows: Sequence[Configuration]) -> dict[str, Any]:
    """By task and metric, each series' points from the cheapest to the dearest: cost, its ratio to dense, value."""
    series = {row.name: row.series for row in rows if row.series}
    return {
        table.task: {metric: _series(table.lines, metric, series) for metric in table.lines[0].figures}
        for table in tables
        if table.lines
    }


def draw_curve(tables: Sequence[TaskSummary], rows: Sequence[Configuration], path: Path) -> None:
    """Save the plot of `points` at `path`, with the dense model's value and that without the image as lines across.

    Raises:
        VisionFlowError: matplotlib is missing, nothing was scored, or the file cannot be written.
    """
    curves = points(tables, rows)
    panels = [(table, metric) for table in tables if table.lines for metric in table.lines[0].figures]
    if not panels:
        raise VisionFlowError("there is nothing to draw: every question was filtered out; raise --limit")
    columns = min(3, len(panels))
    height = ceil(len(panels) / columns)
    figure = new_figure(4.2 * columns, 3.4 * height)
    axes = figure.subplots(height, columns, squeeze=False).ravel()
    for axis, (table, metric) in zip(axes, panels, strict=False):
        _panel(axis, table, metric, curves[table.task][metric])
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    handles = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    across = min(5, 2 * columns)  # a panel is as wide as two names
    figure.set_figheight(figure.get_figheight() + 0.3 * ceil(len(handles) / across))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=across, frameon=False)
    save(figure, path)


def _series(lines: Sequence[Line], metric: Metric, series: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in dict.fromkeys(series.values())}
    for line in sorted(lines, key=_price):
        if line.row in series:
            point = {
                "row": line.row,
                "image_tokens": line.spent.image_tokens_on_average,
                "flops": line.spent.flops,
                "flops_ratio": line.spent.flops_ratio,
                "paper_ratio": line.spent.paper_ratio,
                "value": line.figures[metric].value,
            }
            found[series[line.row]].append(point)
    return found


def _price(line: Line) -> float:
    """FLOPs, or where they are not modelled image tokens on average: in either all lines are of one run."""
    spent = line.spent
    return spent.image_tokens_on_average if spent.flops is None else spent.flops


def _panel(axis: Any, table: TaskSummary, metric: Metric, curves: dict[str, list[dict[str, Any]]]) -> None:
    values = {line.row: line.figures[metric].value for line in table.lines}
    dense = next(line for line in table.lines if line.row == REFERENCE).spent
    place, whole, label = (
        ("image_tokens", dense.image_tokens_on_average, "image tokens, averaged over the layers, share of dense")
        if dense.flops is None
        else ("flops", dense.flops, "FLOPs of the prefill, share of dense")
    )
    axis.axhline(values[REFERENCE], color="0.25", linestyle="--", linewidth=1, label="dense")
    if NO_IMAGE in values:
        axis.axhline(values[NO_IMAGE], color="0.6", linestyle=":", linewidth=1, label="without the image")
    for name, curve in curves.items():
        colour, marker = _STYLES[name]
        across, up = [point[place] / whole for point in curve], [point["value"] for point in curve]
        size = 11 if name == "oracle" else 5
        axis.plot(across, up, color=colour, marker=marker, markersize=size, linewidth=1.4, label=name)
    axis.set_title(f"{table.task} ({table.questions} questions)", fontsize=10)
    axis.set_xlabel(label)
    axis.set_ylabel(_LABELS[metric])
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    if metric == "cider":
        axis.set_ylim(bottom=0)
    else:
        axis.set_ylim(-0.03, 1.03)
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    tidy(axis)
