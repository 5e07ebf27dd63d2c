"""The framing says where the real processors look: paint a box, and see which patch lights up."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from visionflow.errors import VisionFlowError
from visionflow.report.figures import Framing, framing_of

SIDE, PATCH = 48, 8
_SHORTEST, _SQUARE = {"shortest_edge": SIDE}, {"height": SIDE, "width": SIDE}
_BLACK = [0.0, 0.0, 0.0]  # LLaVA pads with the mean
PROCESSORS = {
    "crop": CLIPImageProcessorPil(size=_SHORTEST, crop_size=_SQUARE),
    "crop of a larger resize": CLIPImageProcessorPil(size={"shortest_edge": 61}, crop_size=_SQUARE),
    "crop larger than the resize": CLIPImageProcessorPil(size={"shortest_edge": 31}, crop_size=_SQUARE),
    "crop only": CLIPImageProcessorPil(do_resize=False, crop_size=_SQUARE),
    "pad to a square": LlavaImageProcessorPil(size=_SHORTEST, crop_size=_SQUARE, do_pad=True, image_mean=_BLACK),
    "no pad": LlavaImageProcessorPil(size=_SHORTEST, crop_size=_SQUARE, do_pad=False),
    "plain resize": SiglipImageProcessorPil(size=_SQUARE),
    "resize and pad below": CLIPImageProcessorPil(
        size={"shortest_edge": 24, "longest_edge": SIDE}, do_center_crop=False, do_pad=True, pad_size=_SQUARE
    ),
}


def brightness(processor: Any, picture: Image.Image) -> np.ndarray:
    """Mean of each patch of the real model input, 0 where the picture is black."""
    pixels = np.asarray(processor(picture, return_tensors="np", do_normalize=False)["pixel_values"][0])
    rows, columns = pixels.shape[1] // PATCH, pixels.shape[2] // PATCH
    blocks = pixels[:, : rows * PATCH, : columns * PATCH].reshape(3, rows, PATCH, columns, PATCH)
    return np.asarray(blocks.mean(axis=(0, 2, 4)).ravel())


@pytest.mark.parametrize("processor", PROCESSORS.values(), ids=PROCESSORS.keys())
@settings(max_examples=12, deadline=None)
@given(width=st.integers(40, 300), height=st.integers(40, 300), choice=st.integers(0, 10_000))
def test_a_painted_patch_lights_up_where_the_framing_says(processor: Any, width: int, height: int, choice: int) -> None:
    boxes = framing_of(processor, (width, height), (SIDE, SIDE)).patch_boxes(PATCH)
    patch = choice % len(boxes)
    left, top, right, bottom = boxes[patch]
    assume(left >= 0 and top >= 0 and right <= width and bottom <= height)
    picture = Image.new("RGB", (width, height))
    picture.paste((255, 255, 255), (round(left), round(top), round(right), round(bottom)))

    seen = brightness(processor, picture)

    assert seen.argmax() == patch
    assert seen[patch] > 0.7
    assert np.delete(seen, patch).max() < 0.3


@pytest.mark.parametrize("processor", PROCESSORS.values(), ids=PROCESSORS.keys())
@pytest.mark.parametrize("size", [(90, 60), (60, 90), (61, 61), (200, 47)])
def test_patches_outside_the_picture_are_padding(processor: Any, size: tuple[int, int]) -> None:
    seen = brightness(processor, Image.new("RGB", size, "white"))
    boxes = framing_of(processor, size, (SIDE, SIDE)).patch_boxes(PATCH)
    for (left, top, right, bottom), light in zip(boxes, seen, strict=True):
        width = max(0.0, min(right, size[0]) - max(left, 0.0)) / (right - left)
        height = max(0.0, min(bottom, size[1]) - max(top, 0.0)) / (bottom - top)
        assert light == pytest.approx(width * height, abs=0.12)


def test_the_centre_crop_of_a_wide_picture() -> None:
    frame = framing_of(PROCESSORS["crop"], (200, 100), (SIDE, SIDE))
    assert frame.box == pytest.approx((50, 0, 150, 100))
    assert len(frame.patch_boxes(PATCH)) == 36
    assert frame.patch_boxes(PATCH)[7] == pytest.approx((50 + 100 / 6, 100 / 6, 50 + 200 / 6, 200 / 6))


def test_the_padding_of_a_tall_picture_is_outside_it() -> None:
    frame = framing_of(PROCESSORS["pad to a square"], (100, 200), (SIDE, SIDE))
    assert frame.box == pytest.approx((-50, 0, 150, 200))


def test_pixels_that_fill_no_patch_are_left_out() -> None:
    assert Framing(30, 50).grid(8) == (6, 3)


def test_a_processor_with_its_own_steps_is_refused() -> None:
    class Tiles(CLIPImageProcessorPil):
        def _preprocess(self, *args: Any, **kwargs: Any) -> Any: ...

    with pytest.raises(VisionFlowError, match="Tiles"):
        framing_of(Tiles(), (20, 20), (SIDE, SIDE))


def test_an_input_of_another_size_is_refused() -> None:
    with pytest.raises(VisionFlowError, match="48 x 48"):
        framing_of(PROCESSORS["crop"], (20, 20), (SIDE + 8, SIDE))


def test_a_processor_from_elsewhere_is_refused() -> None:
    class Foreign(SimpleNamespace):
        def _preprocess(self) -> None: ...

    with pytest.raises(VisionFlowError, match="Foreign"):
        framing_of(Foreign(), (20, 20), (SIDE, SIDE))
