"""What rows pay and what they read, from the log-sum-exp that fused attention tells: no scores of all pairs are held.

Torch's public interfaces to it were looked at and are not used: ``flex_attention(return_aux=)`` holds the scores of all
pairs unless it is compiled, and ``varlen_attn(return_aux=)``, of GPUs alone, is not in torch 2.8 and has changed its
arguments since. The operations below are called as they were in 2.8.
"""

from typing import Any

import torch
from torch import Tensor
from torch.backends.cuda import SDPAParams, can_use_flash_attention
from torch.nn.functional import pad

from visionflow.core.attention import AttentionRows, exact, scores_of, tokens_at
from visionflow.core.tokens import Group, concatenated, pack

_HALF = (torch.bfloat16, torch.float16)
_KERNELS: dict[str, tuple[Any, tuple[torch.dtype, ...]]] = {
    "cpu": (torch.ops.aten._scaled_dot_product_flash_attention_for_cpu, (torch.float32, *_HALF)),
    "cuda": (torch.ops.aten._scaled_dot_product_flash_attention, _HALF),
}
"""Fused attention that tells its log-sum-exp, and what it takes, by device."""

_WIDEST = 256  # dimensions of a head that flash attention takes
_SPARE = 8  # dimensions added to a head, of which three hold a number of fp32: flash attention takes multiples of 8
_UNREAD = 100.0  # what exp(-100) adds to a sum is nothing

_WORTHWHILE = {"cpu": 4096, "cuda": 1024}
"""Rows from which on it is looked at, by device: measured on a CPU, where fewer are as fast without it; estimated from
the kernels that it saves on a GPU."""

_WORTHWHILE_RECEIVED = {"cuda": 1024}
"""The same for what they read: on a CPU it is as fast without (8,192 rows were measured), on a GPU estimated."""


def log_sum_exp(rows: AttentionRows) -> Tensor | None:
    """``log sum_j exp(scores[i, j])`` of the rows, fp32 ``[batch, heads, rows]``; None where no kernel gives it.

    With it at hand the mass on few keys needs the scores of these alone. Masses are then as exact as the kernel is,
    about 1e-4 with half-precision queries.
    """
    query = rows.query
    if rows.index.shape[1] < _WORTHWHILE.get(query.device.type, 0) or not _takes(rows, query.shape[3]):
        return None
    lse = _causal(query, _every_head(rows), rows.scaling)
    return lse.gather(2, rows.index.unsqueeze(1).expand(-1, query.shape[1], -1))


def received_from(rows: AttentionRows, exclude_self: bool = False) -> Tensor | None:
    """``sum_i A[i, v]`` over the rows, fp32 ``[batch, tokens]``, of two log-sum-exps; None where no kernel gives them.

    Column sums are a log-sum-exp as well, that of attention in which keys ask and queries answer::

        sum_i exp(q_i . k_v - lse_i) = exp(log sum_i exp(k_v . q_i - lse_i))

    Its causal mask is the other way round, so the tokens are, too. ``-lse_i`` is three numbers of the queries' dtype in
    further dimensions of q_i, with ones in those of k_v: products of half precision are summed in fp32, and nothing is
    lost.
    """
    query, size = rows.query, rows.query.shape[3]
    least = _WORTHWHILE_RECEIVED.get(query.device.type)
    if least is None or rows.index.shape[1] < least or not _takes(rows, size + _SPARE):
        return None
    key = _every_head(rows)
    lse = _causal(query, key, rows.scaling)
    counted = torch.zeros_like(rows.tokens.valid).scatter(1, rows.index, rows.real)
    bias = torch.where(counted.unsqueeze(1), lse, lse + _UNREAD).flip(2) / -rows.scaling
    answering, asking = pad(query.flip(2), (0, _SPARE)), pad(key.flip(2), (0, _SPARE), value=1.0)
    for place in range(size, size + 3):
        answering[..., place] = bias
        bias = bias - answering[..., place]
    read = _causal(asking, answering, rows.scaling).flip(2).exp().mean(1)
    if not exclude_self:
        return read
    own = ((exact(query) * exact(key)).sum(3) * rows.scaling - lse).exp().mean(1)
    return (read - own * counted).clamp(min=0)


def _takes(rows: AttentionRows, size: int) -> bool:
    """Whether there is a kernel for these rows and heads of this size.

    It is for plain causal attention and a mean of heads, and takes a GPU with flash.
    """
    query = rows.query
    _, dtypes = _KERNELS.get(query.device.type, (None, ()))
    plain = rows.mask is None and rows.past == 0 and rows.group is None and rows.softcap is None and rows.share is None
    fits = query.dtype in dtypes and size <= _WIDEST
    return plain and rows.joined == "mean" and fits and (query.device.type != "cuda" or _has_flash(query))


def _has_flash(query: Tensor) -> bool:
    """Whether this GPU and this build of torch have flash attention for such queries, which the kernel does not ask."""
    asked = SDPAParams(query, query, query, None, 0.0, True, False)
    return query.shape[3] % 8 == 0 and can_use_flash_attention(asked)


def _every_head(rows: AttentionRows) -> Tensor:
    """The keys of each query head, ``[batch, heads, keys, head_dim]``."""
    groups = rows.query.shape[1] // rows.key.shape[1]
    return rows.key if groups == 1 else rows.key.repeat_interleave(groups, 1)


def _causal(query: Tensor, key: Tensor, scaling: float) -> Tensor:
    """The log-sum-exp of causal attention, fp32 ``[batch, heads, queries]``."""
    kernel, _ = _KERNELS[query.device.type]
    lse: Tensor = kernel(query, key, key, 0.0, True, scale=scaling)[1]
    return lse


def masses_from(lse: Tensor, rows: AttentionRows, to: Group, with_own: bool) -> tuple[Tensor, Tensor | None]:
    """What each row pays to keys in `to`, and where asked for to its own, ``[batch, rows]``; zero in fillers.

    ``A[i, j] = mean_h exp(score[i, j] - lse[i])``, for the keys that are not in `to` alone.
    """
    columns, real = pack(~to.mask, to.mask.shape[1] - min(to.counts))
    step = max(1, rows.held_at_once // (lse.shape[0] * lse.shape[1] * max(1, columns.shape[1])))
    few = tokens_at(rows.key, columns)
    elsewhere, own = [], []
    for index, of_rows in zip(torch.split(rows.index, step, 1), torch.split(lse, step, 2), strict=True):
        query = tokens_at(rows.query, index)
        read = (scores_of(query, few, rows.scaling) - of_rows.unsqueeze(3)).exp().mean(1)
        elsewhere.append((read * (real.unsqueeze(1) & (columns.unsqueeze(1) <= index.unsqueeze(2)))).sum(2))
        if with_own:
            key = exact(tokens_at(rows.key, index)).repeat_interleave(query.shape[1] // rows.key.shape[1], 1)
            own.append(((exact(query) * key).sum(3) * rows.scaling - of_rows).exp().mean(1))
    return (1 - concatenated(elsewhere, 1)) * rows.real, concatenated(own, 1) if own else None
