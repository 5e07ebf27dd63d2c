"""Which columns of the sequence a layer's KV cache holds, from the prompt to the last token."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from visionflow.core.tokens import Tokens, pack

_STEPS = 64  # of an answer, at least, that one look ahead is good for


@dataclass(frozen=True)
class Layout:
    """The columns held by one or more layers, after something was dropped.

    Attributes:
        index: int64 ``[batch, keys]``, columns of the sequence up to `covered`, ascending; fillers come first.
        real: bool ``[batch, keys]``, False for fillers.
        full: there are no fillers.
        covered: columns that `index` speaks of; every later column is held as it came.
        closed: int64 ``[batch]``, by how much positions were closed up where tokens were dropped; None for not at all.
    """

    index: Tensor
    real: Tensor
    full: bool
    covered: int
    closed: Tensor | None = None
    _moved: "tuple[object, Layout] | None" = field(default=None, init=False, repr=False, compare=False)
    _places: Tensor | None = field(default=None, init=False, repr=False, compare=False)

    def length(self, total: int) -> int:
        """Keys in the cache when the sequence is `total` columns long."""
        return self.index.shape[1] + total - self.covered

    def places(self, total: int) -> Tensor:
        """Of each key its column counted from 1, and 0 for fillers, int64 ``[batch, length(total)]``.

        These are its places in a mask that begins with a column which nobody reads. They are made for more columns than
        asked for, so that many steps of an answer share one tensor.
        """
        if self._places is None or self._places.shape[1] < self.length(total):
            last = total + max(_STEPS, total - self.covered)
            tail = torch.arange(self.covered + 1, last + 1, device=self.index.device)
            held = (self.index + 1) * self.real
            object.__setattr__(self, "_places", torch.cat([held, tail.expand(len(held), -1)], 1))
        assert self._places is not None
        return self._places[:, : self.length(total)]

    def until(self, total: int) -> "Layout":
        """The same, speaking of `total` columns."""
        if total == self.covered:
            return self
        batch = self.index.shape[0]
        tail = torch.arange(self.covered, total, device=self.index.device).expand(batch, -1)
        real = torch.ones_like(tail, dtype=torch.bool)
        index, real = torch.cat([self.index, tail], 1), torch.cat([self.real, real], 1)
        return Layout(index, real, self.full, total, self.closed)

    def without(self, columns: Tensor) -> tuple[Tensor, "Layout", list[int]]:
        """What is held when the keys of `columns` (bool ``[batch, covered]``) are gone, at one read from the device.

        Returns:
            int64 ``[batch, fewer]``, places of the keys that stay among those held now; what is held then; and how
            many keys each sample has lost.
        """
        goes = self.real & columns.to(self.index.device).gather(1, self.index)
        stays = self.real & ~goes
        dropped, left = torch.stack([goes.sum(1), stays.sum(1)]).tolist()
        place, real = pack(stays, max(left))
        full = self.full and len(set(left)) == 1
        return place, Layout(self.index.gather(1, place), real, full, self.covered, self.closed), dropped

    def moved(self, by: object, move: Callable[[Tensor], Tensor]) -> "Layout":
        """The same when the samples were moved: what `move` makes of each ``[batch, ...]``, as told `by` an argument.

        The layers of a cache are moved one after the other, by the same object: those that share this go on sharing.
        """
        if self._moved is None or self._moved[0] is not by:
            closed = None if self.closed is None else move(self.closed)
            there = replace(self, index=move(self.index), real=move(self.real), closed=closed)
            object.__setattr__(self, "_moved", (by, there))
        assert self._moved is not None
        return self._moved[1]


def everything(columns: int, batch: int, device: torch.device) -> Layout:
    """All of the first `columns`."""
    index = torch.arange(columns, device=device).expand(batch, -1)
    return Layout(index, torch.ones_like(index, dtype=torch.bool), True, columns)


def prompt(tokens: Tokens) -> Layout:
    """All tokens of a prompt, whose padding need not be held."""
    length = tokens.columns.shape[1]
    return Layout(tokens.columns, tokens.valid, tokens.full, length)


def append(
    before: Layout | None,
    past: int,
    columns: Tensor,
    real: Tensor,
    full: bool,
    total: int,
    closed: Tensor | None = None,
) -> Layout:
    """What is held when `columns` ``[batch, tokens]`` join a cache of `past` columns of which `before` is held."""
    if not past:
        return Layout(columns, real, full, total, closed)
    before = everything(past, len(columns), columns.device) if before is None else before.until(past)
    index = torch.cat([before.index.to(columns.device), columns], 1)
    real = torch.cat([before.real.to(columns.device), real], 1)
    return Layout(index, real, before.full and full, total, before.closed if closed is None else closed)
