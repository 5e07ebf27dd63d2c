"""What rows pay from their log-sum-exp, which fused attention tells: scores of few keys are enough, and no softmax."""

from typing import Any

import torch
from torch import Tensor
from torch.backends.cuda import SDPAParams, can_use_flash_attention

from visionflow.core.attention import AttentionRows, exact, per_group, tokens_at
from visionflow.core.tokens import Group, concatenated, pack

_HALF = (torch.bfloat16, torch.float16)
_KERNELS: dict[str, tuple[Any, tuple[torch.dtype, ...]]] = {
    "cpu": (torch.ops.aten._scaled_dot_product_flash_attention_for_cpu, (torch.float32, *_HALF)),
    "cuda": (torch.ops.aten._scaled_dot_product_flash_attention, _HALF),
}
"""Fused attention that tells its log-sum-exp, and what it takes, by device."""

_WIDEST = 256  # dimensions of a head that flash attention takes
_WORTHWHILE = {"cpu": 4096, "cuda": 1024}
"""Rows from which on it is looked at, by device: measured on a CPU, where fewer are as fast without it; estimated from
the kernels that it saves on a GPU."""


def log_sum_exp(rows: AttentionRows) -> Tensor | None:
    """``log sum_j exp(scores[i, j])`` of the rows, fp32 ``[batch, heads, rows]``; None where no kernel gives it.

    With it at hand the mass on few keys needs the scores of these alone. Masses are then as exact as the kernel is,
    about 1e-4 with half-precision queries.
    """
    query = rows.query
    if rows.index.shape[1] < _WORTHWHILE.get(query.device.type, 0) or not _takes(rows):
        return None
    key = rows.key.repeat_interleave(query.shape[1] // rows.key.shape[1], 1)
    kernel, _ = _KERNELS[query.device.type]
    lse: Tensor = kernel(query, key, key, 0.0, True, scale=rows.scaling)[1]
    return lse.gather(2, rows.index.unsqueeze(1).expand(-1, query.shape[1], -1))


def _takes(rows: AttentionRows) -> bool:
    """Whether there is a kernel for these rows: plain causal attention, a mean of heads, and a GPU with flash."""
    query = rows.query
    _, dtypes = _KERNELS.get(query.device.type, (None, ()))
    plain = rows.mask is None and rows.past == 0 and rows.group is None and rows.softcap is None
    fits = query.dtype in dtypes and query.shape[3] <= _WIDEST
    return plain and rows.joined == "mean" and fits and (query.device.type != "cuda" or _has_flash(query))


def _has_flash(query: Tensor) -> bool:
    """Whether this GPU and this build of torch have flash attention for such queries, which the kernel does not ask."""
    asked = SDPAParams(query, query, query, None, 0.0, True, False)
    return query.shape[3] % 8 == 0 and can_use_flash_attention(asked)


def masses_from(lse: Tensor, rows: AttentionRows, to: Group, with_own: bool) -> tuple[Tensor, Tensor | None]:
    """What each row pays to keys in `to`, and where asked for to its own, ``[batch, rows]``; zero in fillers.

    ``A[i, j] = mean_h exp(score[i, j] - lse[i])``, for the keys that are not in `to` alone.
    """
    columns, real = pack(~to.mask, to.mask.shape[1] - min(to.counts))
    step = max(1, rows.held_at_once // (lse.shape[0] * lse.shape[1] * max(1, columns.shape[1])))
    few = exact(tokens_at(rows.key, columns)).transpose(2, 3)
    elsewhere, own = [], []
    for index, of_rows in zip(torch.split(rows.index, step, 1), torch.split(lse, step, 2), strict=True):
        query = exact(tokens_at(rows.query, index)) * rows.scaling
        read = (per_group(query, few) - of_rows.unsqueeze(3)).exp().mean(1)
        elsewhere.append((read * (real.unsqueeze(1) & (columns.unsqueeze(1) <= index.unsqueeze(2)))).sum(2))
        if with_own:
            key = exact(tokens_at(rows.key, index)).repeat_interleave(query.shape[1] // rows.key.shape[1], 1)
            own.append(((query * key).sum(3) - of_rows).exp().mean(1))
    return (1 - concatenated(elsewhere, 1)) * rows.real, concatenated(own, 1) if own else None
