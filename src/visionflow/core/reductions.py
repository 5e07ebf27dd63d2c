"""Reductions of some rows of attention to one score per token, which methods rank tokens by."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from visionflow.core.attention import AttentionRows
from visionflow.core.forms import Form
from visionflow.core.log_sum_exp import log_sum_exp, masses_from, received_from
from visionflow.core.tokens import Group, GroupName, concatenated


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
    read = received_from(rows, exclude_self)
    return _received(rows, _without_own if exclude_self else _all) if read is None else read


def received_after(rows: AttentionRows) -> Tensor:
    """``sum_{i > v} A[i, v]`` over the rows i: how much those after v read v, which under a causal mask are all.

    What text between pictures reads of later ones, where a model lets it, counts for nothing.

    Returns:
        fp32 ``[batch, tokens]``.
    """
    return received(rows) if rows.by_place else _received(rows, _of_earlier)


def _received(rows: AttentionRows, counted: Callable[[AttentionRows, Tensor, Tensor], Tensor]) -> Tensor:
    """The sum over rows of what is `counted` of their index ``[batch, r]`` and weights ``[batch, r, keys]``."""
    if not rows.index.shape[1]:
        return torch.zeros(rows.tokens.columns.shape, device=rows.query.device)
    total: Tensor | None = None
    for index, _, weights in rows.chunks():
        read = counted(rows, index, weights).sum(dim=1)
        if total is not None:
            read[:, : total.shape[1]] += total
        total = read
    assert total is not None
    return total[:, rows.before :]


def _all(rows: AttentionRows, index: Tensor, weights: Tensor) -> Tensor:
    return weights


def _without_own(rows: AttentionRows, index: Tensor, weights: Tensor) -> Tensor:
    return weights.scatter(2, _own(rows, index, weights), 0.0)


def _of_earlier(rows: AttentionRows, index: Tensor, weights: Tensor) -> Tensor:
    later = torch.arange(weights.shape[2], device=weights.device) >= rows.at(index).unsqueeze(2)
    return weights.masked_fill(later, 0.0)


def paid(rows: AttentionRows, to: GroupName, exclude_self: bool = False) -> Tensor:
    """``sum_{j in to} A[v, j]`` for every row v: how much v reads the group `to`; zero for tokens that are no rows.

    Returns:
        fp32 ``[batch, tokens]``.
    """
    total = torch.zeros(rows.tokens.columns.shape, device=rows.query.device)
    if not rows.index.shape[1]:
        return total
    group, lse = rows.tokens.group(to), log_sum_exp(rows)
    mass, own = _masses(rows, group, exclude_self) if lse is None else masses_from(lse, rows, group, exclude_self)
    if own is not None:
        mass = mass - own * (group.mask.gather(1, rows.places) & rows.real)
    return total.scatter_add(1, rows.places, mass)


def _masses(rows: AttentionRows, to: Group, with_own: bool) -> tuple[Tensor, Tensor | None]:
    """What each row pays to keys in `to`, and where asked for to its own, ``[batch, rows]``; zero in fillers."""
    # What a row does not pay elsewhere: rows that read nothing else, as in a short window, tie at exactly 1.
    whole = rows.joined == "mean"
    counted = ~to.mask if whole else to.mask
    if rows.before:
        counted = torch.nn.functional.pad(counted, (rows.before, 0), value=whole)
    sums, own = [], []
    for index, _, weights in rows.chunks():
        sums.append((weights * counted[:, None, : weights.shape[2]]).sum(dim=2))
        if with_own:
            own.append(weights.gather(2, _own(rows, index, weights)).squeeze(2))
    mass = concatenated(sums, 1)
    if whole:
        mass = (1 if rows.even else rows.real.to(mass.dtype)) - mass
    return mass, concatenated(own, 1) if own else None


def _own(rows: AttentionRows, index: Tensor, weights: Tensor) -> Tensor:
    """The places of the rows' own keys in `weights`, ``[batch, r, 1]``; fillers may point beyond it."""
    return (index + rows.past).clamp(max=weights.shape[2] - 1).unsqueeze(2)
