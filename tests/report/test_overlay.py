"""The overlay clears exactly the kept patches, and the prompt's columns become the right patches."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from visionflow.errors import VisionFlowError
from visionflow.report.figures import Framing, Panel, draw_overlay, patches_kept
from visionflow.report.figures.overlay import HATCH, MARGIN, PADDING, SIDE, SMALL, _Canvas, _panel

PATCH = 8
RED = (230, 20, 30)


def panel(size: tuple[int, int], framing: Framing, kept: list[int] | None) -> Image.Image:
    canvas = _Canvas(Image.new("RGB", size, RED), framing)
    return _panel(canvas, [canvas.place(box) for box in framing.patch_boxes(PATCH)], kept)


def middle(image: Image.Image, size: tuple[int, int], framing: Framing, patch: int) -> tuple[int, ...]:
    left, top, right, bottom = _Canvas(Image.new("RGB", size), framing).place(framing.patch_boxes(PATCH)[patch])
    colour = image.getpixel(((left + right) // 2, (top + bottom) // 2))
    assert isinstance(colour, tuple)
    return colour


# a square, the centre crop of a wide picture, and a tall one padded to a square
FRAMINGS = [
    ((48, 48), Framing(48, 48)),
    ((120, 60), Framing(48, 48, left=30, top=0, x_scale=60 / 48, y_scale=60 / 48)),
    ((60, 120), Framing(48, 48, left=-30, top=0, x_scale=120 / 48, y_scale=120 / 48)),
]


@pytest.mark.parametrize(("size", "framing"), FRAMINGS, ids=["square", "crop", "pad"])
@settings(max_examples=8, deadline=None)
@given(kept=st.sets(st.integers(0, 35)))
def test_kept_patches_are_clear_and_the_others_are_dimmed(
    size: tuple[int, int], framing: Framing, kept: set[int]
) -> None:
    image = panel(size, framing, sorted(kept))
    assert max(image.size) == SIDE
    for patch, (left, _, right, _) in enumerate(framing.patch_boxes(PATCH)):
        colour = middle(image, size, framing, patch)
        if not 0 <= (left + right) / 2 < size[0]:
            assert colour != RED  # padding shows nothing of the picture, kept or not
        else:
            assert (colour == RED) == (patch in kept)


def test_what_is_cut_away_is_marked_in_every_panel() -> None:
    size, framing = FRAMINGS[1]
    for kept in (None, [0, 7], []):
        pixels = np.asarray(panel(size, framing, kept)).astype(int)
        outside = pixels[:, : SIDE // 8]
        assert (outside.max(axis=2) - outside.min(axis=2)).max() < 60  # faint, whatever the picture's colour


@pytest.mark.parametrize("colour", ["white", "black", RED, (128, 128, 128)], ids=str)
def test_the_legend_shows_what_is_in_the_panels(colour: str | tuple[int, int, int]) -> None:
    """Each kind of area is in the legend as it looks on this picture, and only where there is some of it."""
    size, framing = FRAMINGS[1]  # a crop
    picture = Image.new("RGB", size, colour)
    panels = [Panel("What the model sees", "36 patches"), Panel("From layer 2", "1 of 36 patches kept", [0])]
    sheet = draw_overlay([(picture, framing, PATCH, panels)], "HiMAP")
    height = sheet.height - 2 * SMALL - MARGIN + SMALL // 2
    legend = [sheet.getpixel((x, height)) for x in range(sheet.width)]
    canvas = _Canvas(picture, framing)
    boxes = [canvas.place(box) for box in framing.patch_boxes(PATCH)]
    left, top, right, bottom = boxes[14]
    dropped = _panel(canvas, boxes, [0]).getpixel(((left + right) // 2, (top + bottom) // 2))
    assert dropped in legend
    kept = picture.getpixel((0, 0))
    assert legend.count(kept) >= SMALL - 4
    assert PADDING not in legend
    unmoved = draw_overlay([(picture, Framing(*size).resized(48, 48), PATCH, panels)], "HiMAP")
    assert HATCH not in [unmoved.getpixel((x, height)) for x in range(sheet.width)]
    assert HATCH in legend


@pytest.mark.parametrize("colour", ["white", "black"])
def test_the_grid_can_be_seen_on_any_picture(colour: str) -> None:
    framing = Framing(48, 48)
    canvas = _Canvas(Image.new("RGB", (48, 48), colour), framing)
    pixels = np.asarray(_panel(canvas, [canvas.place(box) for box in framing.patch_boxes(PATCH)], None)).astype(int)
    assert abs(pixels[0, 30] - pixels[30, 30]).min() > 60  # a line, and the middle of a patch


@pytest.mark.parametrize("size", [(9, 7), (2000, 1500), (300, 3)])
def test_small_large_and_thin_pictures(size: tuple[int, int]) -> None:
    framing = Framing(*size).resized(48, 48)
    panels = [Panel("What the model sees", "36 patches"), Panel("From layer 2", "2 of 36 patches kept", [0, 35])]
    picture = Image.new("RGB", size, RED)
    sheet = draw_overlay([(picture, framing, PATCH, panels)] * 2, "HiMAP")
    assert sheet.width >= 2 * SIDE
    assert sheet.mode == "RGB"


def test_columns_become_patches() -> None:
    columns = torch.tensor([2, 3, 4, 5, 9, 10, 11, 12])  # two pictures of four patches
    kept = torch.tensor([3, 5, 9, 12])
    assert patches_kept(kept, columns, [4, 4]) == [[1, 3], [0, 3]]
    assert patches_kept(columns, columns, [4, 4]) == [[0, 1, 2, 3]] * 2
    assert patches_kept(columns[:0], columns, [4, 4]) == [[], []]


def test_a_class_token_has_no_patch() -> None:
    columns = torch.arange(10)  # two pictures of four patches, each after a class token
    assert patches_kept(torch.tensor([0, 1, 4, 5, 6]), columns, [4, 4]) == [[0, 3], [0]]


def test_tokens_that_are_not_patches_are_refused() -> None:
    with pytest.raises(VisionFlowError, match="7 image tokens for 4 patches"):
        patches_kept(torch.arange(2), torch.arange(7), [4])
