"""What a forward pass is given, by the names of its arguments: tokens, and whether pictures come with them."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor


def tokens_in(call: dict[str, Any]) -> Tensor:
    """Ids ``[batch, tokens]``, or embeddings ``[batch, tokens, width]``."""
    ids = call.get("input_ids")
    tokens: Tensor = call["inputs_embeds"] if ids is None else ids
    return tokens


def has_pictures(call: dict[str, Any], names: Sequence[str]) -> bool:
    """Whether pictures or videos come under one of these names, or encoded already."""
    return any(_carries(call.get(name)) for name in (*names, "mm_encoder_outputs"))


def _carries(pictures: Any) -> bool:
    """Pixels do, and a non-empty mapping of encoder outputs."""
    return pictures is not None and (isinstance(pictures, Tensor) or bool(pictures))
