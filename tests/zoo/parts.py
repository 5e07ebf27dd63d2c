"""Small configs that many families share, and pictures in the layouts that many classes take."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Generator, Tensor
from transformers import CONFIG_MAPPING, PreTrainedConfig

from tests.zoo.entry import IMAGE, LAYERS, TEXT, Draw, Picture

SLIDING = ["sliding_attention", "sliding_attention", "full_attention"] * (LAYERS // 3)
WINDOW = 8  # shorter than a picture, so that windows cut through it

CLIP = {
    "model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "image_size": 20, "patch_size": 4, "projection_dim": 16,
}  # fmt: skip
SIGLIP = {
    "model_type": "siglip_vision_model", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "image_size": 24, "patch_size": 4, "vision_use_head": False,
}  # fmt: skip
PIXTRAL = {
    "model_type": "pixtral", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "image_size": 32, "patch_size": 4,
}  # fmt: skip


def text(model_type: str = "", **more: Any) -> dict[str, Any]:
    """A text config of `model_type` (of the family's own type where there is none)."""
    own = {"model_type": model_type} if model_type else {}
    return TEXT | own | {"tie_word_embeddings": False} | more


def config(model_type: str, **parts: Any) -> Callable[[], PreTrainedConfig]:
    """Makes the config of the whole model."""
    return lambda: CONFIG_MAPPING[model_type](
        **deepcopy({"tie_word_embeddings": False, "image_token_id": IMAGE} | parts)
    )


def noise(generator: Generator, *shape: int) -> Tensor:
    """Pixels."""
    return torch.randn(shape, generator=generator)


def fixed(
    count: int, *shape: int, name: str = "pixel_values", before: tuple[int, ...] = (), after: tuple[int, ...] = (),
    token: int = IMAGE,
) -> Draw:  # fmt: skip
    """A picture of `count` tokens and of pixels ``[1, *shape]``, with the begin and end tokens that the class has."""

    def draw(generator: Generator) -> Picture:
        return Picture([*before, *[token] * count, *after], {name: noise(generator, 1, *shape)})

    return draw


def gridded(
    grid: tuple[int, int, int], *features: int, merge: int = 2, name: str = "pixel_values",
    grid_name: str = "image_grid_thw", before: tuple[int, ...] = (), after: tuple[int, ...] = (), token: int = IMAGE,
    frames: bool = False, count: int | None = None, **tensors: Tensor,
) -> Draw:  # fmt: skip
    """A picture of flattened patches ``[t * h * w, features]`` and its grid ``[1, 3]``, `merge` x `merge` to a token.

    With `frames` every frame of a video has its own begin and end tokens.
    """
    times, height, width = grid
    number = count or times * height * width // merge**2

    def draw(generator: Generator) -> Picture:
        if frames:
            ids = [*before, *[token] * (number // times), *after] * times
        else:
            ids = [*before, *[token] * number, *after]
        pixels = noise(generator, times * height * width, *(features or (96,)))
        return Picture(ids, {name: pixels, grid_name: torch.tensor([grid]), **tensors})

    return draw
