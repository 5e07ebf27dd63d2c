"""Attention that counts distances between queries and keys in cache slots (Inkling): told by columns instead."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

Columns = Callable[[], tuple[Tensor, Tensor] | None]
"""Columns ``[batch, tokens]`` of the queries and ``[batch, keys]`` of the keys; None where nothing is left out."""


def count_by_column(attention: nn.Module, columns: Columns) -> list[Callable[[], None]]:
    """Let an attention module that adds a bias by distance count these by column; what comes back undoes it."""
    module: Any = getattr(attention, "rel_logits_proj", None)
    if module is None:
        return []
    forward = module.forward

    def by_column(relative: Tensor, queries: Tensor, keys: Tensor) -> Tensor:
        own = columns()
        if own is None:
            bias: Tensor = forward(relative, queries, keys)
            return bias
        samples = zip(torch.split(relative, 1), *(part.to(relative.device) for part in own), strict=True)
        return torch.cat([forward(*sample) for sample in samples])

    module.forward = by_column
    return [partial(delattr, module, "forward")]


def biased(mask: Tensor | None, bias: Tensor) -> Tensor:
    """The mask of a layer with the bias of its scores, ``[batch, heads, tokens, keys]``, additive."""
    if mask is None:
        rows, keys = bias.shape[2:]
        mask = torch.ones(rows, keys, dtype=torch.bool, device=bias.device).tril(keys - rows)[None, None]
    if mask.dtype == torch.bool:
        return torch.where(mask, bias, torch.finfo(bias.dtype).min).contiguous()
    return bias + mask
