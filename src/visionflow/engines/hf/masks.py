"""Attention masks of shorter and blocked sequences: None, keys, bool or additive pairs, never guessed.

`None` means plain causal attention over all rows. A 2-D mask, bool ``[batch, keys]``, means causal attention over the
keys where it is True, the last of which belong to the rows (flash attention). Of 4-D masks, a bool one is True where a
row may read a key; an additive one holds 0 there and the smallest number of its type elsewhere.
"""

import torch
from torch import Tensor


def take_rows(mask: Tensor, index: Tensor) -> Tensor:
    """The query rows `index` ``[batch, rows]`` of a mask ``[batch or 1, heads or 1, tokens, keys]``; or a 2-D one."""
    if mask.dim() == 2:
        return mask
    mask = mask.expand(index.shape[0], -1, -1, -1)
    return mask.gather(2, index[:, None, :, None].expand(-1, mask.shape[1], -1, mask.shape[3]))


def take_columns(mask: Tensor, index: Tensor) -> Tensor:
    """The keys `index` ``[batch, keys]`` of a mask ``[batch or 1, heads or 1, tokens, keys]`` or ``[batch, keys]``."""
    if mask.dim() == 2:
        return mask.gather(1, index)
    mask = mask.expand(index.shape[0], -1, -1, -1)
    return mask.gather(3, index[:, None, None, :].expand(-1, mask.shape[1], mask.shape[2], -1))


def after_nobodys(mask: Tensor) -> Tensor:
    """The mask behind one more column, the first, which nobody reads."""
    nobody = 0.0 if mask.dtype == torch.bool or mask.dim() == 2 else torch.finfo(mask.dtype).min
    return torch.nn.functional.pad(mask, (1, 0), value=nobody)


def causal(rows: Tensor, columns: Tensor) -> Tensor:
    """Bool ``[batch, 1, rows, keys]``: each row may read the columns up to its own (both in sequence order)."""
    return columns[:, None, None, :] <= rows[:, None, :, None]


def forbid(mask: Tensor, pairs: Tensor) -> Tensor:
    """The mask without the bool `pairs` (broadcastable to it)."""
    if mask.dtype == torch.bool:
        return mask & ~pairs
    return mask.masked_fill(pairs, torch.finfo(mask.dtype).min)


def allow(mask: Tensor, pairs: Tensor) -> Tensor:
    """The mask with the bool `pairs` (broadcastable to it) readable."""
    if mask.dtype == torch.bool:
        return mask | pairs
    return mask.masked_fill(pairs, 0.0)


def readable(mask: Tensor) -> Tensor:
    """Bool of the same shape: which keys each row may read."""
    return mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min
