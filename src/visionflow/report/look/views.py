"""Where each image token lies: grids over each picture or frame, or, where that is not known, tokens in their order."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel

from visionflow.engines.hf.families import family_of
from visionflow.errors import VisionFlowError
from visionflow.report.figures.framing import Box
from visionflow.report.figures.kept import Scene
from visionflow.report.look.videos import Steps, steps_of


@dataclass(frozen=True)
class View:
    """One grid of image tokens, row by row.

    Attributes:
        picture: the number of the picture it lies over; None where that is not known.
        name: what the model looks at here.
        rows, columns: of the grid; its last row may be short.
        box: the part of the picture that the grid covers, in its pixels; it may reach beyond into padding.
        tokens: the number of each cell's image token, from 0 in the order of the prompt.
        frame: of a video, the number of the frame, or of the first of those, that it shows; else None.
    """

    picture: int | None
    name: str
    rows: int
    columns: int
    box: Box | None
    tokens: list[int]
    frame: int | None = None


def views_of(
    model: PreTrainedModel, processor: Any, pictures: Sequence[Image.Image], inputs: Any, image_columns: Tensor
) -> tuple[list[View], str]:
    """The views of one prompt, and why they do not lie over the pictures; "" where they do.

    Args:
        model: the model.
        processor: that made `inputs` of the `pictures`; None for one that is not at hand.
        pictures: RGB, or the frames of a video.
        inputs: a batch of one.
        image_columns: int64, columns of the image tokens.
    """
    if (steps := steps_of(model, inputs, len(image_columns))) is not None:
        return _moving(steps, pictures)
    if processor is None or not pictures:
        return _strips(image_columns), "the pictures and the processor were not given"
    try:
        if model.config.model_type == "llava_next":
            return _tiled(model, pictures, inputs, len(image_columns)), ""
        return _gridded(Scene.of_prompt(model, processor, pictures, inputs), len(image_columns)), ""
    except VisionFlowError as error:
        return _strips(image_columns), str(error)


def _gridded(scene: Scene, image_tokens: int) -> list[View]:
    """One grid over each picture; a class token comes before the patches of each, or none."""
    class_tokens = int(image_tokens > sum(scene.patches()))
    views, first = [], 0
    for number, (framing, patches) in enumerate(zip(scene.framings, scene.patches(), strict=True)):
        first += class_tokens
        boxes = framing.patch_boxes(scene.patch)
        box = (*boxes[0][:2], *boxes[-1][2:])
        tokens = list(range(first, first + patches))
        views.append(View(number, "the picture", *framing.grid(scene.patch), box, tokens))
        first += patches
    return views


def _tiled(model: PreTrainedModel, pictures: Sequence[Image.Image], inputs: Any, image_tokens: int) -> list[View]:
    """LLaVA-NeXT: the whole picture small, then its tiles as one fine grid, with a token at the end of each row."""
    vision, pinpoints = model.config.vision_config, model.config.image_grid_pinpoints
    side = vision.image_size // vision.patch_size
    views, first = [], 0
    for number, picture in enumerate(pictures):
        whole = (0.0, 0.0, float(picture.width), float(picture.height))
        views.append(View(number, "the whole picture", side, side, whole, list(range(first, first + side**2))))
        first += side**2
        rows, columns, box = _tile_grid(picture.size, pinpoints, vision.image_size, vision.patch_size)
        starts = [first + row * (columns + 1) for row in range(rows)]
        tokens = [start + column for start in starts for column in range(columns)]
        views.append(View(number, "its tiles", rows, columns, box, tokens))
        first += rows * (columns + 1)
    if first != image_tokens:
        raise VisionFlowError(f"{image_tokens} image tokens are not the {first} of the picture(s) and their tiles")
    return views


def _tile_grid(size: tuple[int, int], pinpoints: Any, tile: int, patch: int) -> tuple[int, int, Box]:
    """Rows and columns of patches in all tiles without their padding, and what they cover of a picture of `size`."""
    from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape, unpad_image

    width, height = size
    down, across = (count * tile for count in get_anyres_image_grid_shape((height, width), pinpoints, tile))
    padded = torch.empty(1, down // patch, across // patch, device="meta")
    rows, columns = unpad_image(padded, (height, width)).shape[1:]
    scale = min(across / width, down / height)
    resized = min(ceil(width * scale), across), min(ceil(height * scale), down)
    edges = []
    for whole, seen, inner, given in zip((across, down), (columns, rows), resized, size, strict=True):
        begin = (whole // patch - seen) // 2 * patch - (whole - inner) // 2
        edges.append((begin * given / inner, (begin + seen * patch) * given / inner))
    (left, right), (top, bottom) = edges
    return rows, columns, (left, top, right, bottom)


def _moving(steps: Steps, frames: Sequence[Image.Image]) -> tuple[list[View], str]:
    """One grid for each step of a video, over the first of the frames that it shows."""
    given, size = steps.take(len(frames)), steps.rows * steps.columns
    views = []
    for step in range(steps.count):
        frame, tokens = step * steps.frames_each, list(range(step * size, (step + 1) * size))
        whole = (0.0, 0.0, float(frames[frame].width), float(frames[frame].height)) if given else None
        views.append(View(frame if given else None, "the video", steps.rows, steps.columns, whole, tokens, frame))
    return views, "" if given else f"the {steps.count * steps.frames_each} frames of the video were not given"


def _strips(image_columns: Tensor) -> list[View]:
    """One grid for each unbroken run of image tokens, about twice as wide as high, without a picture behind it."""
    breaks = (image_columns.diff() > 1).nonzero().flatten() + 1
    views, first = [], 0
    for number, run in enumerate(image_columns.tensor_split(breaks) if len(image_columns) else ()):
        columns = ceil(sqrt(2 * len(run)))
        tokens = list(range(first, first + len(run)))
        name = f"image tokens in their order, run {number + 1}"
        views.append(View(None, name, ceil(len(run) / columns), columns, None, tokens))
        first += len(run)
    return views


def image_columns_of(model: PreTrainedModel, inputs: Any) -> Tensor:
    """int64, the columns of all image tokens of a batch of one, on the CPU."""
    ids = torch.tensor(family_of(model).image_token_ids(model))
    return torch.isin(inputs["input_ids"][0].cpu(), ids).nonzero().flatten()
