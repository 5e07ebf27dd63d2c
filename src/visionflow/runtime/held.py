"""Which columns of the sequence each layer's KV cache holds, remembered per cache from the prompt to the last token."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from visionflow.errors import UnsupportedUsageError
from visionflow.runtime.caches import keys_in
from visionflow.runtime.tokens import Tokens, pack


@dataclass(frozen=True)
class Held:
    """The columns held by one or more layers, after something was dropped.

    Attributes:
        index: int64 ``[batch, keys]``, columns of the sequence up to `covered`, ascending; fillers come first.
        real: bool ``[batch, keys]``, False for fillers.
        full: there are no fillers.
        covered: columns that `index` speaks of; every later column is held as it came.
    """

    index: Tensor
    real: Tensor
    full: bool
    covered: int

    def length(self, total: int) -> int:
        """Keys in the cache when the sequence is `total` columns long."""
        return self.index.shape[1] + total - self.covered

    def until(self, total: int) -> "Held":
        """The same, speaking of `total` columns."""
        if total == self.covered:
            return self
        batch = self.index.shape[0]
        tail = torch.arange(self.covered, total, device=self.index.device).expand(batch, -1)
        real = torch.ones_like(tail, dtype=torch.bool)
        return Held(torch.cat([self.index, tail], 1), torch.cat([self.real, real], 1), self.full, total)

    def without(self, columns: Tensor) -> tuple[Tensor, "Held", list[int]]:
        """What is held when the keys of `columns` (bool ``[batch, covered]``) are gone, at one read from the device.

        Returns:
            int64 ``[batch, fewer]``, places of the keys that stay among those held now; what is held then; and how
            many keys each sample has lost.
        """
        goes = self.real & columns.to(self.index.device).gather(1, self.index)
        stays = self.real & ~goes
        gone, left = torch.stack([goes.sum(1), stays.sum(1)]).tolist()
        place, real = pack(stays, max(left))
        full = self.full and len(set(left)) == 1
        return place, Held(self.index.gather(1, place), real, full, self.covered), gone


def everything(columns: int, batch: int, device: torch.device) -> Held:
    """All of the first `columns`."""
    index = torch.arange(columns, device=device).expand(batch, -1)
    return Held(index, torch.ones_like(index, dtype=torch.bool), True, columns)


def prompt(tokens: Tokens) -> Held:
    """All tokens of a prompt, whose padding need not be held."""
    length = tokens.columns.shape[1]
    return Held(tokens.columns, tokens.valid, set(tokens.lengths()) == {length}, length)


def append(before: Held | None, past: int, columns: Tensor, real: Tensor, full: bool, total: int) -> Held:
    """What is held when `columns` ``[batch, tokens]`` join a cache of `past` columns of which `before` is held."""
    before = everything(past, len(columns), columns.device) if before is None else before.until(past)
    index = torch.cat([before.index.to(columns.device), columns], 1)
    return Held(index, torch.cat([before.real.to(columns.device), real], 1), before.full and full, total)


@dataclass
class CacheRecord:
    """What the scope knows of one KV cache: per layer, None where every column is held.

    Attributes:
        held: one entry per decoder layer.
        total: columns of the sequence so far.
    """

    held: list[Held | None]
    total: int

    def at(self, cache: Any, batch: int) -> "CacheRecord":
        """The record for the cache as it is now: generated tokens may have been cropped off, nothing else changed.

        Raises:
            UnsupportedUsageError: the cache is not as the scope left it.
        """
        total = cache.get_seq_length()
        for layer, held in enumerate(self.held):
            keys = keys_in(cache, layer)
            if keys is None:
                continue
            expected = total if held is None else held.length(total)
            if keys != expected or (held is not None and total < held.covered):
                raise UnsupportedUsageError(
                    f"layer {layer} of the KV cache is not as the scope left it ({keys} keys): "
                    "it was cropped or extended outside; start the prompt again"
                )
            if held is not None and held.index.shape[0] != batch:
                raise UnsupportedUsageError(
                    f"the KV cache was made for a batch of {held.index.shape[0]}, not {batch}: start the prompt again"
                )
        return CacheRecord(self.held, total)
