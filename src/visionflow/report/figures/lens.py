"""What was seen inside one answer, as figures: attention over the picture, sinks among its patches, words by depth."""

from collections.abc import Mapping, Sequence
from math import ceil, sqrt
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from visionflow.flow.attention_maps import PictureAttention
from visionflow.flow.sinks import Sinks, ValueNorms
from visionflow.report.figures.framing import Box
from visionflow.report.figures.kept import Scene
from visionflow.report.figures.patches import patches_kept
from visionflow.report.figures.plotting import BLUE, ORANGE, VERMILION, new_figure, tidy

FIGURES = ("attention.png", "sinks.png", "lens.png")

# The heat darkens evenly, also when printed in grey.
HEAT = [f"{ORANGE}00", f"{VERMILION}CC", "#5B005BFF"]
SHARPEST = 480  # longer side of the picture under a panel, in pixels
FAINTEST = 1e-3  # attention below a thousandth of the mean is drawn there: a logarithm has no place for none
LONGEST = 14  # characters of a word in a cell


def attention_figure(scene: Scene, attention: PictureAttention) -> Any:
    """The picture as the model sees it, and for each layer the attention of one row laid over it, on one scale.

    Args:
        scene: of one picture.
        attention: of the first sample, as `picture_attention` found it.

    Returns:
        A matplotlib Figure.

    Raises:
        VisionFlowError: matplotlib is missing, or the image tokens are not one per patch.
    """
    maps = _maps(scene, attention)
    left, top, right, bottom = _around(scene)
    slant = min(max((bottom - top) / (right - left), 0.4), 2.5)
    figure, grid = _panels(1 + len(maps), panel=(2.5, 2.5 * slant + 0.3), extra=(1.0, 0.5))
    axes = grid.ravel()
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    heat = LinearSegmentedColormap.from_list("attention", HEAT)
    scale = PowerNorm(0.5, vmin=0, vmax=max(float(maps.max()), 1e-6))
    _seen(axes[0], scene)
    for axis, layer, values, share in zip(axes[1:], attention.layers, maps, attention.image_mass[0], strict=False):
        _ground(axis, scene)
        image = axis.imshow(values, cmap=heat, norm=scale, extent=_extent(_frame(scene)))
        axis.set_title(f"layer {layer}: {share:.0%} on the picture", fontsize=10)
        _fit(axis, scene)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, format=lambda value, _: f"{100 * value:.3g}%")
    bar.set_label("share of its attention that one patch gets (mean over heads)")
    figure.suptitle("Where the last prompt token looks before the model answers")
    return figure


def sinks_figure(values: ValueNorms, found: Sinks, norm_below: float, attention_above: float) -> Any:
    """For each layer, how large the value of each patch is against how much the last prompt token reads it.

    Args:
        values: of the first sample, as `value_norms` found them.
        found: its sinks.
        norm_below, attention_above: the factors by which they were found; sinks lie in the corner that they bound.

    Returns:
        A matplotlib Figure.

    Raises:
        VisionFlowError: matplotlib is missing.
    """
    figure, grid = _panels(len(values.layers), panel=(2.8, 2.4), extra=(0.3, 1.0))
    axes = grid.ravel()
    read = (values.from_last[0] / values.from_last[0].mean(1, keepdim=True)).clamp(min=FAINTEST)
    norms = values.norms[0] / values.norms[0].quantile(0.5, dim=1, keepdim=True)
    left = float(read.nan_to_num(1).min()) / 1.6
    right, top = 1.6 * max(float(read.nan_to_num().max()), attention_above), 1.1 * max(float(norms.max()), 1)
    for number, (axis, layer) in enumerate(zip(axes, values.layers, strict=False)):
        is_sink = np.isin(values.columns[0], found.columns[0][number])
        axis.fill_between([attention_above, right], 0, norm_below, **_CORNER)
        _dots(axis, read[number, ~is_sink], norms[number, ~is_sink], color=BLUE, marker="o", label="an image token")
        _dots(axis, read[number, is_sink], norms[number, is_sink], color=VERMILION, marker="D", label="a sink")
        axis.set_title(_sinks_title(layer, int(is_sink.sum()), float(found.shares[0, number])), fontsize=9)
        axis.set_xscale("log")
        axis.set_xlim(left, right)
        axis.set_ylim(0, top)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        tidy(axis)
    _label_outer(grid, len(values.layers), "attention received, times the mean", "norm of the value, times the median")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle("How much the last prompt token reads each image token, and how much that has to give")
    return figure


def words_figure(rows: Sequence[Mapping[str, Any]]) -> Any:
    """The logit lens as a table: a row for each depth, its likeliest words, shaded by their probability.

    Args:
        rows: of one sample, as ``with_words(logit_lens(...).rows(), tokenizer)`` gives them.

    Returns:
        A matplotlib Figure.

    Raises:
        VisionFlowError: matplotlib is missing.
    """
    probabilities = np.array([row["probabilities"] for row in rows])
    depths, top = probabilities.shape
    figure = new_figure(1.35 * top + 2.2, 0.34 * depths + 1.7)
    axis = figure.subplots()
    image = axis.imshow(probabilities, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    says = rows[-1]["ids"][0]
    for depth, row in enumerate(rows):
        for place, (token, word, share) in enumerate(zip(row["ids"], row["words"], row["probabilities"], strict=True)):
            ink = "white" if share > 0.55 else "black"
            axis.text(place, depth, f"{_drawable(word)}  {share:.0%}", color=ink, **_CELL)
            if token == says:
                _outline(axis, place, depth)
    axis.set_xticks(range(top), ["likeliest word", *(f"no. {place}" for place in range(2, top + 1))])
    axis.xaxis.tick_top()
    axis.set_yticks(range(depths), ["before any layer", *(f"after layer {row['depth'] - 1}" for row in rows[1:])])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    figure.suptitle("What the model would say next if it stopped there")
    figure.colorbar(image, ax=axis, label="probability", format=lambda value, _: f"{value:.0%}")
    figure.supxlabel(f"outlined: {_drawable(rows[-1]['words'][0])}, the word that it does say", **_PLAIN)
    return figure


def visible(word: str) -> str:
    """A token's text for people: one line, without the space in front, control characters by their codes."""
    text = word.strip(" ") or "(space)"
    return "".join(sign if sign.isprintable() else _code(sign) for sign in text)


_CORNER = {"color": VERMILION, "alpha": 0.13, "linewidth": 0, "label": "where sinks lie: little to give, much read"}
_PLAIN: dict[str, Any] = {"fontsize": 9, "parse_math": False}
_CELL = _PLAIN | {"ha": "center", "va": "center"}


def _code(sign: str) -> str:
    return sign.encode("unicode_escape").decode()


def _drawable(word: str) -> str:
    """The visible word, cut where it is long, with codes for what matplotlib's font cannot draw."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties()))
    text = "".join(sign if font.get_char_index(ord(sign)) else _code(sign) for sign in visible(word))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _panels(count: int, panel: tuple[float, float], extra: tuple[float, float]) -> tuple[Any, Any]:
    """A figure and a grid of `count` axes, about as many across as down; `panel` and `extra` room in inches."""
    across = ceil(sqrt(count))
    down = ceil(count / across)
    figure = new_figure(across * panel[0] + extra[0], down * panel[1] + extra[1])
    grid = figure.subplots(down, across, squeeze=False)
    for axis in grid.ravel()[count:]:
        axis.set_axis_off()
    return figure, grid


def _label_outer(grid: Any, count: int, across: str, up: str) -> None:
    """Name the axes at the left, and at the foot of each column; the others show the same scale."""
    for axis in grid.ravel()[: count - grid.shape[1]]:
        axis.tick_params(labelbottom=False)
    for axis in grid.ravel()[max(0, count - grid.shape[1]) : count]:
        axis.set_xlabel(across, fontsize=8)
    for axis in grid[:, 1:].ravel():
        axis.tick_params(labelleft=False)
    for axis in grid[:, 0]:
        axis.set_ylabel(up, fontsize=8)


def _maps(scene: Scene, attention: PictureAttention) -> Tensor:
    """``[layers, rows, columns]``; a class token comes first and has no place in the picture."""
    columns = attention.columns[0]
    [patches] = patches_kept(columns, columns, scene.patches())
    values = attention.image[0][:, len(columns) - len(patches) :]
    return values.reshape(len(values), *scene.framings[0].grid(scene.patch))


def _frame(scene: Scene) -> Box:
    """What the patches cover, in pixels of the picture."""
    boxes = scene.framings[0].patch_boxes(scene.patch)
    return *boxes[0][:2], *boxes[-1][2:]


def _around(scene: Scene) -> Box:
    """The picture together with the padding that the model sees around it."""
    width, height = scene.pictures[0].size
    left, top, right, bottom = _frame(scene)
    return min(0, left), min(0, top), max(width, right), max(height, bottom)


def _extent(box: Box) -> tuple[float, float, float, float]:
    """The box in matplotlib's order; rows are counted downwards."""
    left, top, right, bottom = box
    return left, right, bottom, top


def _ground(axis: Any, scene: Scene) -> Image.Image:
    """The picture, pale and grey, for colours to be laid over; gives the small picture in its own colours."""
    picture = scene.pictures[0].copy()
    picture.thumbnail((SHARPEST, SHARPEST))
    pale = Image.blend(picture.convert("L").convert("RGB"), Image.new("RGB", picture.size, "white"), 0.55)
    axis.imshow(pale, extent=_extent((0, 0, *scene.pictures[0].size)))
    return picture


def _seen(axis: Any, scene: Scene) -> None:
    """The picture, in its own colours where a patch shows it."""
    from matplotlib.patches import Rectangle

    clear = axis.imshow(_ground(axis, scene), extent=_extent((0, 0, *scene.pictures[0].size)))
    left, top, right, bottom = _frame(scene)
    clear.set_clip_path(Rectangle((left, top), right - left, bottom - top, transform=axis.transData))
    axis.set_title("what the model sees", fontsize=10)
    _fit(axis, scene)


def _fit(axis: Any, scene: Scene) -> None:
    """Room for all there is, and a line around what the model sees."""
    from matplotlib.patches import Rectangle

    left, top, right, bottom = _frame(scene)
    axis.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor="0.25", linewidth=0.8))
    left, right, bottom, top = _extent(_around(scene))
    axis.set_xlim(left, right)
    axis.set_ylim(bottom, top)
    axis.set_facecolor("0.9")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def _dots(axis: Any, across: Tensor, up: Tensor, **style: Any) -> None:
    axis.plot(across, up, linestyle="none", markersize=4, markeredgewidth=0, alpha=0.6, **style)


def _sinks_title(layer: int, count: int, share: float) -> str:
    if count == 0:
        return f"layer {layer}: no sinks"
    return f"layer {layer}: {count} sink{'s' * (count > 1)}, {share:.0%} of the reading"


def _outline(axis: Any, place: int, depth: int) -> None:
    from matplotlib.patches import Rectangle

    axis.add_patch(Rectangle((place - 0.48, depth - 0.46), 0.96, 0.92, fill=False, edgecolor=VERMILION, linewidth=1.6))
