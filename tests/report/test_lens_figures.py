"""The figures of `visionflow lens`: everything at its place, in words, whatever the words."""

import io
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from visionflow.errors import VisionFlowError
from visionflow.flow import PictureAttention, Sinks, ValueNorms, sinks
from visionflow.report.figures import Framing, Scene
from visionflow.report.figures.lens import FAINTEST, attention_figure, sinks_figure, visible, words_figure

pytest.importorskip("matplotlib")

COLUMNS = torch.arange(5, 41)
LAYERS = (0, 3, 7)


def scene(size: tuple[int, int], framing: Framing) -> Scene:
    """A picture of which a grid of 6 x 6 patches of 8 pixels is seen."""
    return Scene([Image.linear_gradient("L").convert("RGB").resize(size)], [framing], 8, COLUMNS)


SQUARE = scene((48, 48), Framing(48, 48))
CROPPED = scene((120, 60), Framing(48, 48, left=30, top=0, x_scale=60 / 48, y_scale=60 / 48))
PADDED = scene((60, 120), Framing(48, 48, left=-30, top=0, x_scale=120 / 48, y_scale=120 / 48))


def looking(image: Tensor) -> PictureAttention:
    """Attention of one sample over its picture, and the rest of it on the instruction."""
    mass = image.sum(1)[None]
    columns = torch.arange(5, 5 + image.shape[1])
    return PictureAttention(LAYERS[: len(image)], [columns], [image], mass, torch.zeros_like(mass), 1 - mass)


def maps() -> Tensor:
    """0.3 on patch 0 in the first layer, 0.4 on patch 8 (row 1, column 2) in the second, 0.2 evenly in the third."""
    image = torch.zeros(3, 36)
    image[0, 0], image[1, 8], image[2] = 0.3, 0.4, 0.2 / 36
    return image


def rendered(figure: Any) -> np.ndarray[Any, Any]:
    """Its pixels; whatever matplotlib has to remark is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        file = io.BytesIO()
        figure.savefig(file, dpi=60)
    return np.asarray(Image.open(file).convert("RGB")).astype(int)


def titles(figure: Any) -> list[str]:
    return [axis.get_title() for axis in figure.axes if axis.get_title()]


@pytest.mark.parametrize("shown", [SQUARE, CROPPED, PADDED], ids=["square", "crop", "pad"])
def test_attention_lies_on_its_patch(shown: Scene) -> None:
    figure = attention_figure(shown, looking(maps()))
    boxes = shown.framings[0].patch_boxes(8)
    for axis, patch in ((figure.axes[1], 0), (figure.axes[2], 8)):
        heat = axis.get_images()[-1]
        left, right, bottom, top = heat.get_extent()
        values = np.asarray(heat.get_array())
        row, column = np.unravel_index(values.argmax(), values.shape)
        step_x, step_y = (right - left) / values.shape[1], (bottom - top) / values.shape[0]
        found = (left + column * step_x, top + row * step_y, left + (column + 1) * step_x, top + (row + 1) * step_y)
        assert found == pytest.approx(boxes[patch])
    (width, height), (lowest, highest) = shown.pictures[0].size, figure.axes[1].get_xlim()
    assert lowest == min(0, boxes[0][0])
    assert highest == max(width, boxes[-1][2])
    assert figure.axes[1].get_images()[0].get_extent() == [0, width, height, 0]


def test_every_layer_says_how_much_it_looks_and_all_have_one_scale() -> None:
    figure = attention_figure(SQUARE, looking(maps()))
    assert titles(figure) == [
        "what the model sees",
        "layer 0: 30% on the picture",
        "layer 3: 40% on the picture",
        "layer 7: 20% on the picture",
    ]
    scales = [axis.get_images()[-1].norm for axis in figure.axes[1:4]]
    assert all(scale is scales[0] for scale in scales)
    assert scales[0].vmax == pytest.approx(0.4)
    assert rendered(figure).std() > 5


def test_a_class_token_has_no_place_in_the_picture() -> None:
    image = torch.cat([torch.full((3, 1), 0.5), maps()], 1)
    shown = attention_figure(SQUARE, looking(image)).axes[1].get_images()[-1]
    assert np.asarray(shown.get_array()).ravel() == pytest.approx(maps()[0].numpy())


def test_tokens_that_are_not_patches_are_refused() -> None:
    with pytest.raises(VisionFlowError, match="35 image tokens for 36 patches"):
        attention_figure(SQUARE, looking(maps()[:, :35]))


def test_a_picture_that_nobody_looks_at_can_be_drawn() -> None:
    assert titles(attention_figure(SQUARE, looking(torch.zeros(1, 36))))[1:] == ["layer 0: 0% on the picture"]


def values() -> ValueNorms:
    """Median norm 100 in each layer; in the first, patches 2 and 9 are small and much read: sinks."""
    norms = torch.full((3, 36), 100.0)
    norms[:, :6] = torch.linspace(80, 120, 6)
    read = torch.full((3, 36), 0.01)
    norms[0, [2, 9]], read[0, [2, 9]] = 30.0, torch.tensor([0.2, 0.1])
    return ValueNorms(LAYERS, [COLUMNS], [norms], [read], [read])


def drawn(figure: Any, panel: int, label: str) -> list[tuple[float, float]]:
    """The points of a kind: attention and norm."""
    [line] = [line for line in figure.axes[panel].get_lines() if line.get_label() == label]
    return [(float(x), float(y)) for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]


def test_sinks_lie_in_their_corner_and_the_others_outside() -> None:
    found = values()
    figure = sinks_figure(found, sinks(found), 0.5, 2.0)
    mean = float(found.from_last[0][0].mean())
    assert sorted(drawn(figure, 0, "a sink")) == [
        pytest.approx((0.1 / mean, 0.3)),
        pytest.approx((0.2 / mean, 0.3)),
    ]
    assert len(drawn(figure, 0, "an image token")) == 34
    assert all(not (x > 2 and y < 0.5) for x, y in drawn(figure, 0, "an image token"))
    [corner] = figure.axes[0].collections
    (left, bottom), (_, top) = corner.get_datalim(figure.axes[0].transData).get_points()
    assert (left, bottom, top) == (2.0, 0.0, 0.5)
    assert drawn(figure, 1, "a sink") == []
    share = 0.3 / (0.3 + 34 * 0.01)
    assert titles(figure) == [
        f"layer 0: 2 sinks, {share:.0%} of the reading",
        "layer 3: no sinks",
        "layer 7: no sinks",
    ]
    assert rendered(figure).std() > 5


def test_one_sink_is_one_sink() -> None:
    one = Sinks(LAYERS, [[COLUMNS[:1], COLUMNS[:0], COLUMNS[:0]]], torch.tensor([[0.25, 0.0, 0.0]]))
    assert titles(sinks_figure(values(), one, 0.5, 2.0))[0] == "layer 0: 1 sink, 25% of the reading"


def test_no_attention_at_all_is_drawn_without_it() -> None:
    """A logarithm has no place for 0: an unread token is drawn at the rim, an unread layer not at all."""
    read = values().from_last[0].clone()
    read[0, 5], read[1] = 0, 0
    unread = replace(values(), from_last=[read])
    figure = sinks_figure(unread, sinks(unread), 0.5, 2.0)
    assert min(drawn(figure, 0, "an image token"))[0] == pytest.approx(FAINTEST)
    assert np.isfinite(figure.axes[1].get_xlim()).all()
    rendered(figure)


def said(*words: str) -> list[dict[str, Any]]:
    """Three depths: the last says `words` with ids from 0, the first two the same the other way round."""
    shares = [0.6 / 2**place for place in range(len(words))]
    ids = list(range(len(words)))
    last = {"depth": 2, "ids": ids, "words": list(words), "probabilities": shares}
    before = {"ids": ids[::-1], "words": list(words[::-1]), "probabilities": shares}
    return [before | {"depth": 0}, before | {"depth": 1}, last]


def test_words_are_a_table_with_the_answer_outlined() -> None:
    figure = words_figure(said(" red", " blue"))
    axis = figure.axes[0]
    cells = {text.get_position(): text.get_text() for text in axis.texts}
    assert cells == {
        **{(0, depth): "blue  60%" for depth in (0, 1)},
        **{(1, depth): "red  30%" for depth in (0, 1)},
        (0, 2): "red  60%",
        (1, 2): "blue  30%",
    }
    assert sorted((round(box.get_x() + 0.48), round(box.get_y() + 0.46)) for box in axis.patches) == [
        (0, 2),
        (1, 0),
        (1, 1),
    ]
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels == ["before any layer", "after layer 0", "after layer 1"]
    assert figure.get_supxlabel() == "outlined: red, the word that it does say"


def test_any_word_can_be_drawn() -> None:
    """Dollars are no formulas; what the font lacks is a code; long words are cut."""
    figure = words_figure(said("$x_$", "\u4e2d", "\x1b[2J", " ", "incomprehensibilities", "\ufffd", "\\"))
    rendered(figure)
    cells = [text.get_text().partition("  ")[0] for text in figure.axes[0].texts][-7:]
    assert cells == ["$x_$", "\\u4e2d", "\\x1b[2J", "(space)", "incomprehensi…", "\ufffd", "\\"]


@pytest.mark.parametrize(
    ("word", "shown"),
    [(" three", "three"), ("", "(space)"), ("  ", "(space)"), ("\n\n", "\\n\\n"), ("\x07", "\\x07"), ("é", "é")],
)
def test_words_for_people_have_one_line(word: str, shown: str) -> None:
    assert visible(word) == shown
