"""The frontier: how far from dense against cost, tuned beside hand-set and controls; and what is right, where known."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from visionflow.evaluation.budget import CONTROLS
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
from visionflow.tuning.frontier import TUNED, Point

COLOURS = (VERMILION, ORANGE, BLUE, PURPLE, GREEN, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
_LEAST = 1e-5  # nats; below, the scale would show rounding


def draw_frontier(points: Sequence[Point], dense_right: float | None, title: str, cost: str, path: Path) -> None:
    """Save the plot: KL on a logarithmic scale against cost, and beside it the share of right answers if it is known.

    Tuned schedules are black stars, hand-set methods full lines, controls dashed ones.

    Raises:
        VisionFlowError: matplotlib is missing, or the file cannot be written.
    """
    panels = 1 if dense_right is None else 2
    names = {point.series for point in points}
    beside = 0.8 + 0.08 * max(map(len, names))  # inches, for the legend: specs of methods may be long, and many
    figure = new_figure(6.2 * panels + beside, max(4.6, 0.22 * (len(names) + 4)))
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _lines(axes[0], points, [max(_LEAST, point.kl) for point in points])
    axes[0].set_yscale("log")
    axes[0].set_ylabel("KL from dense, nats an answer")
    axes[0].set_title("How far from the dense answers (lower is better)", fontsize=10)
    if dense_right is not None:
        _lines(axes[1], points, [point.right or 0.0 for point in points])
        axes[1].axhline(dense_right, color="0.25", linestyle=":", linewidth=1.2, label="dense")
        axes[1].set_ylabel("right answers")
        axes[1].yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes[1].set_title("How often right (higher is better)", fontsize=10)
    for axis in axes:
        axis.set_xlabel(f"{cost} of the prefill, share of dense")
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        tidy(axis)
    handles = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside right center", frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=11)
    save(figure, path)


def _lines(axis: Any, points: Sequence[Point], up: Sequence[float]) -> None:
    series = list(dict.fromkeys(point.series for point in points))
    others = [name for name in series if name != TUNED]
    for name in [*others, *(name for name in series if name == TUNED)]:
        place = sorted((point.cost, value) for point, value in zip(points, up, strict=True) if point.series == name)
        across, heights = zip(*place, strict=True)
        if name == TUNED:
            axis.plot(across, heights, color=BLACK, marker="*", markersize=13, linewidth=1.8, label=name)
            continue
        number = others.index(name)
        control = name in CONTROLS
        axis.plot(
            across,
            heights,
            color="0.45" if control else COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
            markersize=5,
            linewidth=1.3,
            linestyle="--" if control else "-",
            label=name,
        )
