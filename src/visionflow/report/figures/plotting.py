"""What all plots have in common: figures drawn without a window, colours, tidy axes, and a file at the end."""

from collections.abc import Sequence
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import Any

from visionflow.errors import VisionFlowError

# Okabe and Ito's colours, which colour-blind readers tell apart.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)


def check_matplotlib() -> None:
    """Refuse to go on without matplotlib, which only the plots need.

    Raises:
        VisionFlowError: it is not installed.
    """
    if find_spec("matplotlib") is None:
        raise VisionFlowError("the figures need the package matplotlib: pip install 'visionflow[eval]'")


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib Figure of so many inches, whose parts make room for each other.

    Raises:
        VisionFlowError: matplotlib is missing.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def tidy(axis: Any) -> None:
    """No frame at the top and the right, and a faint grid behind everything."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    axis.set_axisbelow(True)


def legend_above(axis: Any, columns: int = 1) -> None:
    """The legend between the axis and its title, which is set before: there nothing is drawn that it could cover."""
    legend = axis.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, frameon=False, fontsize=9, borderaxespad=0
    )
    lines = ceil(len(legend.get_texts()) / columns)
    axis.set_title(axis.get_title(), fontsize=11, pad=8 + 13 * lines)


def line_with_band(
    axis: Any,
    across: Sequence[float],
    up: Sequence[float],
    bounds: Sequence[Sequence[float]],
    colour: str,
    marker: str,
    label: str,
) -> None:
    """A line of estimates, and around it their intervals.

    Args:
        axis: a matplotlib Axes.
        across: where the estimates stand.
        up: the estimates.
        bounds: low and high of each.
        colour, marker, label: of the line.
    """
    low, high = zip(*bounds, strict=True)
    axis.plot(across, up, color=colour, marker=marker, label=label, linewidth=1.6)
    axis.fill_between(across, low, high, color=colour, alpha=0.18, linewidth=0)


def save(figure: Any, path: Path) -> None:
    """Write the figure.

    Raises:
        VisionFlowError: the file cannot be written.
    """
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise VisionFlowError(f"cannot write {path} ({error.strerror or error}): choose another --out") from error
