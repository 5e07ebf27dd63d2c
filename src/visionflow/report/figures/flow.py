"""The figures of the flow analyses, drawn from the rows that the commands print as JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from visionflow.flow.disruption import layers_named
from visionflow.report.figures.plotting import (
    BLUE,
    GREEN,
    VERMILION,
    legend_above,
    line_with_band,
    new_figure,
    save,
    tidy,
)

# A colour, and for those who print in grey a marker or hatching.
_STYLES = {
    "s_ins": ("instruction tokens", BLUE, "o"),
    "s_sys": ("system tokens", GREEN, "s"),
    "s_img": ("image tokens", VERMILION, "^"),
    "s_vv": ("image tokens reading image tokens (S_vv)", VERMILION, "^"),
    "s_vt": ("the question reading image tokens (S_vt)", BLUE, "o"),
    "instruction": ("image → question", BLUE, ""),
    "random": ("image → as many random tokens", "#BBBBBB", "//"),
}
# The released code sums rows where the paper sums columns, and does not divide the two flows.
_ROLE = {"paper": "being read", "released": "reading"}
_FLOW_LABEL = {"paper": "saliency per image token", "released": "saliency, summed over pairs of tokens"}
_KINDS = ("system", "image", "instruction")
_ASIDE = 0.07  # two series stand so far beside their place that the interval of one does not hide the other's


def draw_saliency(found: Mapping[str, Any], path: Path) -> None:
    """Figures 2 and 3 of the HiMAP paper: which tokens matter in which layer, and which of the two visual flows.

    Args:
        found: what ``visionflow saliency --json`` prints.
        path: of the picture.

    Raises:
        VisionFlowError: matplotlib is missing, or the file cannot be written.
    """
    figure = new_figure(11, 4.2)
    left, right = figure.subplots(1, 2)
    left.set_title(f"How much the answer hangs on one token {_ROLE[found['convention']]}")
    _lines(left, found["layers"], ("s_ins", "s_sys", "s_img"), columns=2)
    right.set_title("Which flow of visual information matters")
    _lines(right, found["layers"], ("s_vv", "s_vt"))
    left.set_yscale("log")
    left.set_ylabel("saliency per token (log scale)")
    right.set_ylabel(_FLOW_LABEL[found["convention"]])
    right.set_ylim(bottom=0)
    figure.suptitle(
        _caption(found) + f", 95 % intervals; {found['objective']}, {found['convention']} convention", fontsize=9
    )
    save(figure, path)


def draw_lengths(found: Mapping[str, Any], path: Path) -> None:
    """Figure 9: how many tokens of each kind the prompts have; raises as `draw_saliency`."""
    figure = new_figure(6, 3.6)
    axis = figure.subplots()
    counts = [[length[kind] for length in found["lengths"]] for kind in _KINDS]
    axis.boxplot(counts, orientation="horizontal", widths=0.5, medianprops={"color": VERMILION, "linewidth": 2})
    labels = [f"{kind}\nmedian {median(count):g}" for kind, count in zip(_KINDS, counts, strict=True)]
    axis.set_yticks(range(1, len(_KINDS) + 1), labels)
    axis.set_xlim(left=0)
    axis.set_xlabel("tokens in the prompt")
    axis.set_title("How long the parts of a prompt are", fontsize=11)
    tidy(axis)
    figure.suptitle(_caption(found), fontsize=9)
    save(figure, path)


def draw_disruptions(found: Mapping[str, Any], path: Path) -> None:
    """Figure 4: what is left when the question, or random tokens, may not read the image in the first or last layers.

    Args:
        found: what ``visionflow disrupt --json`` prints, with the disruptions of figure 4.
        path: of the picture.

    Raises:
        VisionFlowError: as of `draw_saliency`.
    """
    figure = new_figure(9, 4)
    axes = figure.subplots(1, 2, sharey=True)
    panels = {
        "score_consistency": "Overlap of the five likeliest answers",
        "label_consistency": "Answers that stay the same",
    }
    for axis, (name, title) in zip(axes, panels.items(), strict=True):
        _bars(axis, found["disruptions"], name)
        axis.set_title(title, fontsize=11)
        tidy(axis)
    axes[0].set_ylabel("share of what it was undisturbed")
    axes[0].set_ylim(0, 1.05)
    axes[0].yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, title="blocked flow")
    figure.suptitle(_caption(found) + ", 95 % intervals", fontsize=9)
    save(figure, path)


def draw_shift(found: Mapping[str, Any], path: Path) -> None:
    """Figure 5: D, and the two errors it is made of, for every window of layers; raises as `draw_saliency`."""
    windows = found["windows"]
    figure = new_figure(max(9.0, 0.3 * len(windows)), 5.4)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.3, 1))
    places = range(len(windows))
    for name, style, aside in (("e_vv", "s_vv", -_ASIDE), ("e_vt", "s_vt", _ASIDE)):
        label, colour, marker = _STYLES[style]
        values = [row[name] for row in windows]
        above.errorbar(
            [place + aside for place in places],
            [each["value"] for each in values],
            _reach(values),
            label=label.rsplit(" (", 1)[0],
            color=colour,
            marker=marker,
            capsize=3,
            linewidth=1.4,
        )
    above.set_ylabel("lost when blocked (E)")
    above.set_ylim(bottom=0)
    above.set_title("What the answer loses when a visual flow is blocked")
    legend_above(above, columns=2)
    _shift(below, [row["d"] for row in windows])
    names = [layers_named(row["layers"]) for row in windows]
    below.set_xticks(places, names, rotation=90 if len(names) > 16 else 0)
    below.set_xlabel("blocked layers")
    for axis in (above, below):
        tidy(axis)
    figure.suptitle(_caption(found) + ", 95 % intervals", fontsize=9)
    save(figure, path)


def _lines(axis: Any, rows: Sequence[Mapping[str, Any]], measures: Sequence[str], columns: int = 1) -> None:
    layers = [row["layer"] for row in rows]
    for name in measures:
        label, colour, marker = _STYLES[name]
        bounds = [row["interval"][name] for row in rows]
        line_with_band(axis, layers, [row[name] for row in rows], bounds, colour, marker, label)
    axis.set_xlabel("decoder layer")
    axis.set_xticks(layers if len(layers) <= 16 else layers[:: len(layers) // 8])
    legend_above(axis, columns)
    tidy(axis)


def _bars(axis: Any, rows: Sequence[Mapping[str, Any]], name: str) -> None:
    windows = [tuple(row["layers"]) for row in rows if row["target"] == "random"]
    for shift, target in ((-0.2, "instruction"), (0.2, "random")):
        label, colour, hatch = _STYLES[target]
        of_window = {tuple(row["layers"]): row[name] for row in rows if row["target"] == target}
        values = [of_window[window] for window in windows]
        axis.bar(
            [place + shift for place in range(len(values))],
            [each["value"] for each in values],
            0.38,
            label=label,
            yerr=_reach(values),
            color=colour,
            hatch=hatch,
            edgecolor="white",
            capsize=4,
        )
    axis.set_xticks(range(len(windows)), [f"layers {layers_named(window)}" for window in windows])


def _shift(axis: Any, ratios: Sequence[Mapping[str, Any]]) -> None:
    axis.axhline(0, color="0.4", linewidth=1)
    known = [(place, each) for place, each in enumerate(ratios) if each["value"] is not None]
    if known:
        places, values = zip(*known, strict=True)
        axis.errorbar(
            places, [each["value"] for each in values], _reach(values), fmt="D", color="black", capsize=3, linewidth=1.4
        )
    for place, each in enumerate(ratios):
        if each["value"] is None:
            axis.annotate(
                "undefined",
                (place, 0),
                rotation=90,
                ha="center",
                va="center",
                color="0.4",
                fontsize=8,
                backgroundcolor="white",
            )
    axis.set_ylabel("D = ln(E_vv / E_vt)")
    axis.margins(y=0.25)
    # Above the panel: inside it lay on the "undefined" of the last windows, where that is most frequent.
    axis.set_title("above 0: image tokens reading each other matters more", loc="right", fontsize=8, color="0.3")


def _reach(values: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """Distances from each value down and up to its bounds."""
    return [
        [max(0.0, each["value"] - each["low"]) for each in values],
        [max(0.0, each["high"] - each["value"]) for each in values],
    ]


def _caption(found: Mapping[str, Any]) -> str:
    return f"{found['samples']} questions of {found['suite']}, {found['model']} model"
