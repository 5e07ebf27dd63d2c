"""Reductions of some rows of attention to one score per token, which methods rank tokens by."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from visionflow.core.attention import CHUNK_ELEMENTS, AttentionRows, exact, per_group, tokens_at
from visionflow.core.forms import Form
from visionflow.core.tokens import Group, GroupName, pack

_HALF = (torch.bfloat16, torch.float16)
_KERNELS: dict[str, tuple[Any, tuple[torch.dtype, ...]]] = {
    "cpu": (torch.ops.aten._scaled_dot_product_flash_attention_for_cpu, (torch.float32, *_HALF)),
    "cuda": (torch.ops.aten._scaled_dot_product_flash_attention, _HALF),
}
"""Fused attention that tells its log-sum-exp, and what it takes, by device."""

_WIDEST = 256  # dimensions of a head that flash attention takes
_WORTHWHILE = 4096  # rows; measured on a CPU, where fewer are looked at as fast without it


class Reduction(Form, ABC):
    """Some rows of attention to one score per token, ``[batch, tokens]`` in fp32.

    Every score is a sum over rows: those of chunks of the rows add up to that of all (`joined`).
    """

    @abstractmethod
    def __call__(self, rows: AttentionRows) -> Tensor:
        """The scores; zero for tokens that the rows say nothing of."""


@dataclass(frozen=True)
class Received(Reduction):
    """How much the rows read each token; see `received`."""

    exclude_self: bool = False

    def __call__(self, rows: AttentionRows) -> Tensor:
        """The sum over rows."""
        return received(rows, self.exclude_self)


@dataclass(frozen=True)
class ReceivedAfter(Reduction):
    """How much the rows after each token read it; see `received_after`."""

    def __call__(self, rows: AttentionRows) -> Tensor:
        """The sum over rows."""
        return received_after(rows)


@dataclass(frozen=True)
class Paid(Reduction):
    """How much each row reads a group of tokens; see `paid`."""

    to: GroupName
    exclude_self: bool = False

    def __call__(self, rows: AttentionRows) -> Tensor:
        """One number per row, in the place of its token."""
        return paid(rows, self.to, self.exclude_self)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """The scores of all rows from those of chunks of them, in order: later chunks may know of more tokens.

    Args:
        parts: each ``[batch, tokens so far]``.
    """
    total = torch.zeros_like(parts[-1])
    for part in parts:
        total[:, : part.shape[1]] += part
    return total


def received(rows: AttentionRows, exclude_self: bool = False) -> Tensor:
    """``sum_i A[i, v]`` over the rows i, for every token v present: how much they read v.

    Returns:
        fp32 ``[batch, tokens]``.
    """
    return _received(rows, _without_own if exclude_self else _all)


def received_after(rows: AttentionRows) -> Tensor:
    """``sum_{i > v} A[i, v]`` over the rows i: how much those after v read v, which under a causal mask are all.

    What text between pictures reads of later ones, where a model lets it, counts for nothing.

    Returns:
        fp32 ``[batch, tokens]``.
    """
    return _received(rows, _all if rows.by_place else _of_earlier)


def _received(rows: AttentionRows, counted: Callable[[AttentionRows, Tensor, Tensor], Tensor]) -> Tensor:
    """The sum over rows of what is `counted` of their index ``[batch, r]`` and weights ``[batch, r, keys]``."""
    total = torch.zeros(rows.key.shape[0], rows.key.shape[2], device=rows.query.device)
    for index, _, weights in rows.chunks():
        total[:, : weights.shape[2]] += counted(rows, index, weights).sum(dim=1)
    return total[:, rows.before :]


def _all(rows: AttentionRows, index: Tensor, weights: Tensor) -> Tensor:
    return weights


def _without_own(rows: AttentionRows, index: Tensor, weights: Tensor) -> Tensor:
    return weights.scatter(2, _own(rows, index, weights), 0.0)


def _of_earlier(rows: AttentionRows, index: Tensor, weights: Tensor) -> Tensor:
    later = torch.arange(weights.shape[2], device=weights.device) >= (index + rows.past).unsqueeze(2)
    return weights.masked_fill(later, 0.0)


def paid(rows: AttentionRows, to: GroupName, exclude_self: bool = False) -> Tensor:
    """``sum_{j in to} A[v, j]`` for every row v: how much v reads the group `to`; zero for tokens that are no rows.

    Returns:
        fp32 ``[batch, tokens]``.
    """
    group, lse = rows.tokens.group(to), log_sum_exp(rows)
    mass, own = _masses(rows, group) if lse is None else _masses_from(lse, rows, group)
    if exclude_self:
        mass = mass - own * (group.mask.gather(1, rows.places) & rows.real)
    total = torch.zeros(rows.tokens.columns.shape, device=rows.query.device)
    return total.scatter_add(1, rows.places, mass)


def _masses(rows: AttentionRows, to: Group) -> tuple[Tensor, Tensor]:
    """What each row pays to keys in `to`, and to its own, ``[batch, rows]``; zero in fillers."""
    if not rows.index.shape[1]:
        nothing = torch.zeros(rows.index.shape, device=rows.query.device)
        return nothing, nothing
    # What a row does not pay elsewhere: rows that read nothing else, as in a short window, tie at exactly 1.
    whole = rows.joined == "mean"
    counted = torch.nn.functional.pad(~to.mask if whole else to.mask, (rows.before, 0), value=whole)
    sums, own = [], []
    for index, _, weights in rows.chunks():
        sums.append((weights * counted[:, None, : weights.shape[2]]).sum(dim=2))
        own.append(weights.gather(2, _own(rows, index, weights)).squeeze(2))
    mass = torch.cat(sums, 1)
    return rows.real.to(mass.dtype) - mass if whole else mass, torch.cat(own, 1)


def _own(rows: AttentionRows, index: Tensor, weights: Tensor) -> Tensor:
    """The places of the rows' own keys in `weights`, ``[batch, r, 1]``; fillers may point beyond it."""
    return (index + rows.past).clamp(max=weights.shape[2] - 1).unsqueeze(2)


def log_sum_exp(rows: AttentionRows) -> Tensor | None:
    """``log sum_j exp(scores[i, j])`` of the rows, fp32 ``[batch, heads, rows]``; None where no kernel gives it.

    With it at hand the mass on few keys needs the scores of these alone. Masses are then as exact as the kernel is,
    about 1e-4 with half-precision queries.
    """
    query = rows.query
    kernel, dtypes = _KERNELS.get(query.device.type, (None, ()))
    plain = rows.mask is None and rows.past == 0 and rows.group is None and rows.softcap is None
    plain = plain and rows.joined == "mean"
    fits = query.dtype in dtypes and query.shape[3] <= _WIDEST
    if not (plain and fits) or rows.index.shape[1] < _WORTHWHILE:
        return None
    key = rows.key.repeat_interleave(query.shape[1] // rows.key.shape[1], 1)
    lse: Tensor = kernel(query, key, key, 0.0, True, scale=rows.scaling)[1]
    return lse.gather(2, rows.index.unsqueeze(1).expand(-1, query.shape[1], -1))


def _masses_from(lse: Tensor, rows: AttentionRows, to: Group) -> tuple[Tensor, Tensor]:
    """As `_masses`, from the log-sum-exp: ``A[i, j] = mean_h exp(score[i, j] - lse[i])``, for these keys alone."""
    columns, real = pack(~to.mask, to.mask.shape[1] - min(to.counts))
    step = max(1, CHUNK_ELEMENTS // (lse.shape[0] * lse.shape[1] * max(1, columns.shape[1])))
    few = exact(tokens_at(rows.key, columns)).transpose(2, 3)
    elsewhere, own = [], []
    for index, of_rows in zip(torch.split(rows.index, step, 1), torch.split(lse, step, 2), strict=True):
        query = exact(tokens_at(rows.query, index)) * rows.scaling
        read = (per_group(query, few) - of_rows.unsqueeze(3)).exp().mean(1)
        elsewhere.append((read * (real.unsqueeze(1) & (columns.unsqueeze(1) <= index.unsqueeze(2)))).sum(2))
        key = exact(tokens_at(rows.key, index)).repeat_interleave(query.shape[1] // rows.key.shape[1], 1)
        own.append(((query * key).sum(3) - of_rows).exp().mean(1))
    return (1 - torch.cat(elsewhere, 1)) * rows.real, torch.cat(own, 1)
