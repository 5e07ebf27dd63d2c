"""What is known of patches, put together as the families put the patches themselves together into image tokens.

Of the patches of a token scores are summed and keys averaged. None of these reads pixels: numbers and sizes tell.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.vision_utils import get_vision_window_index

from visionflow.engines.hf.tower_table import Joining
from visionflow.errors import UnsupportedModelError

Join = Callable[[Sequence[Tensor], int, Mapping[str, Any], PreTrainedConfig], Tensor]
"""Of what each call of the tower's layer showed (``[pictures, patches, 1 + width]``), the number of image tokens, the
arguments that the pictures came with, and the model's config: ``[image tokens, 1 + width]``, in prompt order."""


def blocks(parts: Sequence[Tensor], count: int, given: Mapping[str, Any], config: PreTrainedConfig) -> Tensor:
    """Pixel shuffle, pooling, or one patch a token; a class token that becomes no image token is left out."""
    patches = torch.cat(list(parts))
    pictures, every = patches.shape[:2]
    each = count // pictures
    side = math.isqrt(every // max(1, each))
    used = each * side**2
    if each * pictures != count or every - used not in (0, 1):
        raise _unlike(count, pictures * every)
    patches = patches[:, every - used :]
    if side == 1:
        return patches.flatten(0, 1)
    row = math.isqrt(used) // side
    return _pooled(patches.reshape(pictures, -1, side, row, side, patches.shape[2]), (2, 4)).flatten(0, 2)


def units(parts: Sequence[Tensor], count: int, given: Mapping[str, Any], config: PreTrainedConfig) -> Tensor:
    """Runs of patches of one length."""
    patches = torch.cat([part.flatten(0, 1) for part in parts])
    if not count or len(patches) % count:
        raise _unlike(count, len(patches))
    return _pooled(patches.reshape(count, -1, patches.shape[1]), (1,))


def windows(parts: Sequence[Tensor], count: int, given: Mapping[str, Any], config: PreTrainedConfig) -> Tensor:
    """Runs in the order of the tower's windows, put back into that of the picture."""
    vision: Any = config.vision_config
    order, _ = get_vision_window_index(
        given["image_grid_thw"], vision.spatial_merge_size, vision.window_size, vision.patch_size
    )
    joined = units(parts, count, given, config)
    return joined[order.argsort().to(joined.device)]


def sizes(parts: Sequence[Tensor], count: int, given: Mapping[str, Any], config: PreTrainedConfig) -> Tensor:
    """Squares of the patches of each picture, the pictures end to end."""
    vision: Any = config.vision_config
    patches = torch.cat([part.flatten(0, 1) for part in parts])
    grids = [[int(edge) // vision.patch_size for edge in size] for size in given["image_sizes"]]
    side = math.isqrt(len(patches) // max(1, count))
    pictures = torch.split(patches, [height * width for height, width in grids])
    joined = [
        _pooled(picture.reshape(height // side, side, width // side, side, -1), (1, 3)).flatten(0, 1)
        for picture, (height, width) in zip(pictures, grids, strict=True)
    ]
    return torch.cat(joined)


JOINS: dict[Joining, Join] = {"blocks": blocks, "units": units, "windows": windows, "sizes": sizes}
"""By name; "packed" is done where the family packs."""


def packed(
    parts: Sequence[Tensor], pack: Callable[..., Any], tiles: Sequence[Tensor], *args: Any, **options: Any
) -> Tensor:
    """What `pack`, the family's own method, makes of the values in place of the projected `tiles` of each picture.

    A newline token, behind which no patch stands, scores -inf.
    """
    values = torch.cat(list(parts))[:, -tiles[0].shape[1] :]
    if options.get("image_newline") is not None:
        options["image_newline"] = values.new_tensor([-torch.inf, *[0.0] * (values.shape[2] - 1)])
    pictures, _ = pack(torch.split(values, [len(tile) for tile in tiles]), *args, **options)
    return torch.cat(list(pictures))


def _pooled(patches: Tensor, axes: tuple[int, ...]) -> Tensor:
    return torch.cat([patches[..., :1].sum(axes), patches[..., 1:].mean(axes)], -1)


def _unlike(tokens: int, patches: int) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{tokens} image tokens are not made of the vision tower's {patches} patches in a way that is known here: take "
        "a method that looks at no tower, such as HiMAP"
    )
