"""Attention inside a vision tower, from the queries and keys of one of its layers: tensors, nothing of transformers."""

from typing import Literal

import torch
from torch import Tensor

from visionflow.core.attention import CHUNK_ELEMENTS, exact, out_of_autocast, per_group

TowerRows = Literal["cls", "received", "flow"]


@torch.no_grad()
def flow_seen(query: Tensor, key: Tensor, value: Tensor, scaling: float, mask: Tensor | None) -> Tensor:
    """What a layer shows of each patch by the information that flows through its class token, as of `patches_seen`.

    With A the attention of the class token and ``S_j = softmax_j(v_cls v_j)``, both means over heads, and v_j the
    values: ``(A_j / sum_j A_j + S_j / sum_j S_j) |mean_h v_j|_1``, sums over the patches (FlowCut).

    Args:
        query: ``[pictures, heads, patches, head_dim]``, the class token first.
        key: the same.
        value: the same.
        scaling: factor of the products of queries and keys before the softmax; those of values have none.
        mask: as of `patches_seen`.
    """
    with out_of_autocast(query.device):
        mask = mask[:, None, None] if mask is not None and mask.dim() == 2 else mask
        read = _read(query[:, :, :1], key, scaling, mask)[:, 0]
        alike = _read(value[:, :, :1], value, 1.0, mask)[:, 0]
        shares = (each / each[:, 1:].sum(1, keepdim=True) for each in (read, alike))
        score = torch.stack([*shares]).sum(0) * exact(value).mean(1).abs().sum(2)
        return torch.cat([score.unsqueeze(2), exact(key).mean(1)], 2)


@torch.no_grad()
def patches_seen(rows: TowerRows, query: Tensor, key: Tensor, scaling: float, mask: Tensor | None) -> Tensor:
    """What a layer shows of each patch: its score, and its key, the mean over heads.

    The score is what the first token, the class token, reads of it ("cls"), or the sum of what all tokens read of it
    ("received": 1 on average in a picture of any size). Memory grows with the patches, never with heads x n x n.

    Args:
        rows: whose attention.
        query: ``[pictures, heads, patches, head_dim]``, the class token first where there is one.
        key: the same.
        scaling: factor of the products before the softmax.
        mask: None, or bool or additive, ``[pictures, patches]`` or ``[pictures or 1, 1, patches or 1, patches]``.

    Returns:
        ``[pictures, patches, 1 + head_dim]`` in fp32, or in fp64 where the keys are.
    """
    with out_of_autocast(query.device):
        mask = mask[:, None, None] if mask is not None and mask.dim() == 2 else mask
        score = (
            _read(query[:, :, :1], key, scaling, mask)[:, 0] if rows == "cls" else _received(query, key, scaling, mask)
        )
        return torch.cat([score.unsqueeze(2), exact(key).mean(1)], 2)


def _received(query: Tensor, key: Tensor, scaling: float, mask: Tensor | None) -> Tensor:
    """The sum over all rows but those of padding, which nobody reads, ``[pictures, patches]``."""
    pictures, heads, patches = query.shape[:3]
    total = exact(key).new_zeros(pictures, patches)
    step = max(1, CHUNK_ELEMENTS // (pictures * heads * patches))
    real = None if mask is None else _bias(mask).isfinite().any(2).expand(pictures, 1, -1)
    for start in range(0, patches, step):
        part = slice(start, start + step)
        of_rows = mask[:, :, part] if mask is not None and mask.shape[2] > 1 else mask
        weights = _read(query[:, :, part], key, scaling, of_rows)
        total += (weights if real is None else weights * real[:, 0, part, None]).sum(1)
    return total


def _read(query: Tensor, key: Tensor, scaling: float, mask: Tensor | None) -> Tensor:
    """What these rows read of each key, the mean over heads, ``[pictures, rows, patches]``."""
    scores = per_group(exact(query), exact(key).transpose(2, 3)) * scaling
    return (scores if mask is None else scores + _bias(mask[:, :, : scores.shape[2]])).softmax(3).mean(1)


def _bias(mask: Tensor) -> Tensor:
    """0 where a key may be read, -inf elsewhere; an additive mask says so with the lowest number of its type."""
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, -torch.inf)
    return exact(mask).masked_fill(mask <= torch.finfo(mask.dtype).min, -torch.inf)
