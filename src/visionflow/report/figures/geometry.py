"""Where the image tokens of a prompt lie over its pictures, for the models in which each picture becomes one grid."""

from collections.abc import Sequence
from math import isqrt
from typing import Any

from transformers import PreTrainedModel

from visionflow.errors import VisionFlowError
from visionflow.report.figures.framing import Framing, framing_of

Size = tuple[int, int]  # width and height, in pixels

# Model types whose image tokens are cells of a grid over the picture, row by row: a test paints a cell of a real
# processor's picture and sees the embedding of that very token change. The first read one picture as one input, the
# others as patches with a grid of their own.
ONE_INPUT = (
    "llava",
    "vipllava",
    "paligemma",
    "gemma3",
    "shieldgemma2",
    "internvl",
    "idefics3",
    "smolvlm",
    "mobilevlm",
    "qwen",
)
GRIDDED = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe")


def framings_of(
    model: PreTrainedModel, image_processor: Any, pictures: Sequence[Size], inputs: Any, image_tokens: int
) -> tuple[list[Framing], int]:
    """The frame of each picture, and the side of the cell that one image token shows, in pixels of the model's input.

    Args:
        model: the model.
        image_processor: that made `inputs` of the pictures.
        pictures: their sizes.
        inputs: of one prompt.
        image_tokens: of that prompt.

    Raises:
        VisionFlowError: where the tokens lie is not known.
    """
    kind = model.config.model_type
    if kind in GRIDDED:
        framings, cell = _gridded(image_processor, pictures, inputs)
    elif kind in ONE_INPUT:
        framings, cell = _one_input(model, image_processor, pictures, inputs, image_tokens)
    else:
        raise VisionFlowError(f"where the image tokens of a {kind} lie in the picture is not known here")
    cells = sum(rows * columns for rows, columns in (framing.grid(cell) for framing in framings))
    if image_tokens - cells not in (0, len(pictures)):  # a class token comes before the patches of each
        raise VisionFlowError(f"{image_tokens} image tokens are not the {cells} cells of a grid over the picture(s)")
    return framings, cell


def _gridded(image_processor: Any, pictures: Sequence[Size], inputs: Any) -> tuple[list[Framing], int]:
    """Whole pictures, stretched to a number of patches."""
    patch = image_processor.patch_size
    framings = [
        Framing(*size).resized(columns * patch, rows * patch)
        for size, (_, rows, columns) in zip(pictures, inputs["image_grid_thw"].tolist(), strict=True)
    ]
    return framings, patch * image_processor.merge_size


def _one_input(
    model: PreTrainedModel, image_processor: Any, pictures: Sequence[Size], inputs: Any, image_tokens: int
) -> tuple[list[Framing], int]:
    """Pictures of one tile each; pooling makes one token of a square of patches."""
    pixels = inputs["pixel_values"].flatten(0, -4)  # Idefics 3 has an axis of samples before that of tiles
    if len(pixels) != len(pictures):
        raise VisionFlowError(f"the processor cut {len(pictures)} picture(s) into {len(pixels)} overlapping tiles")
    height, width = pixels.shape[-2:]
    patch = _side(model.config.vision_config.patch_size)
    patches = (height // patch) * (width // patch)
    pooled = isqrt(patches * len(pictures) // max(1, image_tokens)) or 1
    return [framing_of(image_processor, size, (width, height)) for size in pictures], patch * pooled


def _side(patch: Any) -> int:
    """The side of a square patch, which some configs give as height and width."""
    return int(patch[0] if isinstance(patch, list | tuple) else patch)
