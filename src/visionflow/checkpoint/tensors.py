"""What batches of both kinds are made of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from PIL import Image
from transformers import LlavaProcessor

IGNORED = -100
"""The label of a position that no loss looks at."""


@dataclass(frozen=True)
class Movable:
    """A bundle of tensors that moves to a device as one."""

    def to(self, device: torch.device) -> Self:
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return replace(self, **moved)


def pixels(processor: LlavaProcessor, images: Sequence[Image.Image]) -> torch.Tensor:
    """Pictures as the tower takes them, float32 [pictures, 3, side, side]."""
    values: torch.Tensor = processor.image_processor(list(images), return_tensors="pt").pixel_values
    return values
