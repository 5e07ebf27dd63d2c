"""Where the model's square input lies over the original picture.

Processors resize, crop and pad. Each step moves and stretches a frame over the original picture; the frame at the end
says which part of the original each patch of the model shows.
"""

from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Any

import numpy as np

from visionflow.errors import VisionFlowError

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels of the original picture


@dataclass(frozen=True)
class Framing:
    """An upright frame over the original picture, `width` x `height` pixels of the model's input.

    Attributes:
        width: columns of the model's input.
        height: rows of the model's input.
        left: the frame's left edge in the original picture; negative where the input begins with padding.
        top: the frame's upper edge in the original picture.
        x_scale: pixels of the original per column of the input.
        y_scale: pixels of the original per row of the input.
    """

    width: int
    height: int
    left: float = 0.0
    top: float = 0.0
    x_scale: float = 1.0
    y_scale: float = 1.0

    @property
    def box(self) -> Box:
        """The whole frame, in pixels of the original."""
        return self._box(0, 0, self.width, self.height)

    def grid(self, patch: int) -> tuple[int, int]:
        """Rows and columns of whole patches; what is left over at the right and the bottom is never looked at."""
        return self.height // patch, self.width // patch

    def patch_boxes(self, patch: int) -> list[Box]:
        """The box of each patch, row by row; it may reach beyond the original picture, into padding."""
        rows, columns = self.grid(patch)
        return [
            self._box(column * patch, row * patch, (column + 1) * patch, (row + 1) * patch)
            for row in range(rows)
            for column in range(columns)
        ]

    def resized(self, width: int, height: int) -> "Framing":
        """The same region in another number of pixels."""
        x_scale, y_scale = self.x_scale * self.width / width, self.y_scale * self.height / height
        return replace(self, width=width, height=height, x_scale=x_scale, y_scale=y_scale)

    def moved(self, x: int, y: int, width: int, height: int) -> "Framing":
        """A frame of `width` x `height` that begins at column `x` and row `y` of this one: a crop, or padding."""
        left, top, _, _ = self._box(x, y, x, y)
        return replace(self, width=width, height=height, left=left, top=top)

    def _box(self, left: int, top: int, right: int, bottom: int) -> Box:
        return (
            self.left + self.x_scale * left,
            self.top + self.y_scale * top,
            self.left + self.x_scale * right,
            self.top + self.y_scale * bottom,
        )


# Image processors that stretch a picture of one tile to the model's input, whatever its shape.
_STRETCHING = ("Gemma3ImageProcessor", "GotOcr2ImageProcessor", "Idefics3ImageProcessor", "SmolVLMImageProcessor")


def framing_of(image_processor: Any, picture: tuple[int, int], model_input: tuple[int, int]) -> Framing:
    """The frame that `image_processor` puts over a picture that is not cut into tiles.

    Args:
        image_processor: one with the stock steps of transformers' PIL back end, as CLIP's, SigLIP's and LLaVA's have,
            or one that stretches, as Gemma 3's, InternVL's, Idefics 3's and SmolVLM's.
        picture: width and height of the original.
        model_input: width and height of the pixel values it became.

    Raises:
        VisionFlowError: the processor has steps of its own, or its steps do not end at `model_input`.
    """
    steps = type(image_processor)._preprocess.__qualname__
    if steps.partition(".")[0].removesuffix("Pil") in _STRETCHING:
        return Framing(*picture).resized(*model_input)
    if steps not in ("PilBackend._preprocess", "LlavaImageProcessorPil._preprocess"):
        raise VisionFlowError(f"which part of a picture {type(image_processor).__name__} shows the model is not known")
    pads_first = steps.startswith("Llava")
    frame = Framing(*picture)
    if image_processor.do_pad and pads_first:
        frame = _padded_to_square(frame)
    if image_processor.do_resize:
        frame = frame.resized(*_resized_size(frame, image_processor.size))
    if image_processor.do_center_crop:
        frame = _centre_cropped(frame, image_processor.crop_size["width"], image_processor.crop_size["height"])
    if image_processor.do_pad and not pads_first:
        frame = frame.moved(0, 0, *model_input)
    if (frame.width, frame.height) != model_input:
        raise VisionFlowError(
            f"{type(image_processor).__name__} made an input of {model_input[0]} x {model_input[1]} pixels where its "
            f"settings give {frame.width} x {frame.height}: the overlay would be wrong, so none is drawn"
        )
    return frame


def _padded_to_square(frame: Framing) -> Framing:
    side = max(frame.width, frame.height)
    return frame.moved(-((side - frame.width) // 2), -((side - frame.height) // 2), side, side)


def _resized_size(frame: Framing, size: Any) -> tuple[int, int]:
    """Width and height after the processor's resize, whose rounding is transformers' own."""
    from transformers.image_transforms import get_resize_output_image_size, get_size_with_aspect_ratio
    from transformers.image_utils import get_image_size_for_max_height_width

    rows_columns = (frame.height, frame.width)
    if size.get("shortest_edge") and size.get("longest_edge"):
        height, width = get_size_with_aspect_ratio(rows_columns, size["shortest_edge"], size["longest_edge"])
    elif size.get("shortest_edge"):
        blank = np.broadcast_to(np.uint8(0), (1, *rows_columns))  # only its shape is read
        height, width = get_resize_output_image_size(
            blank, size["shortest_edge"], default_to_square=False, input_data_format="channels_first"
        )
    elif size.get("max_height") and size.get("max_width"):
        height, width = get_image_size_for_max_height_width(rows_columns, size["max_height"], size["max_width"])
    else:
        height, width = size["height"], size["width"]
    return width, height


def _centre_cropped(frame: Framing, width: int, height: int) -> Framing:
    return frame.moved(_crop_start(frame.width, width), _crop_start(frame.height, height), width, height)


def _crop_start(length: int, cropped: int) -> int:
    """First pixel of a centre crop; a crop that is longer than the picture pads on both sides."""
    half = (length - cropped) / 2
    if half >= 0:
        return floor(half)
    return -ceil(-half)
