"""The steps of a video in one prompt, and the grid of image tokens that each has."""

from dataclasses import dataclass
from math import isqrt
from typing import Any

from transformers import PreTrainedModel

POOLED = ("llava_next_video", "llava_onevision")
"""Each frame is a square of tokens; the latter has one token more behind all of them."""


@dataclass(frozen=True)
class Steps:
    """A video as the language model gets it.

    Attributes:
        count: of its steps, in the order of time.
        rows, columns: of the grid of tokens that each step is, row by row.
        frames_each: frames that go into one step.
    """

    count: int
    rows: int
    columns: int
    frames_each: int

    def take(self, frames: int) -> bool:
        """Whether a video of so many frames has these steps."""
        return -(-frames // self.frames_each) == self.count


def steps_of(model: PreTrainedModel, inputs: Any, image_tokens: int) -> Steps | None:
    """The steps of the only video of a prompt; None where there is none, or more than it, or they are not known."""
    if any(name in inputs for name in ("pixel_values", "image_grid_thw")) or not image_tokens:
        return None
    vision = model.config.vision_config
    if "video_grid_thw" in inputs and len(inputs["video_grid_thw"]) == 1:
        merge = vision.spatial_merge_size
        count, height, width = inputs["video_grid_thw"][0].tolist()
        steps = Steps(count, height // merge, width // merge, getattr(vision, "temporal_patch_size", 1))
        return steps if count * steps.rows * steps.columns == image_tokens else None
    if model.config.model_type in POOLED and "pixel_values_videos" in inputs:
        count = inputs["pixel_values_videos"].shape[1]
        side = isqrt(image_tokens // count)
        return Steps(count, side, side, 1) if image_tokens - count * side**2 in (0, 1) else None
    return None
