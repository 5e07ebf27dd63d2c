"""Some rows of a layer's attention, from its queries and keys: tensors, nothing of transformers.

A[i, j] is what query row i pays to key j, averaged over heads, in fp32. Rows are taken in chunks, so memory grows with
keys, never with heads x n x n.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor
from torch.distributed import ProcessGroup, ReduceOp, all_reduce, get_rank

from visionflow.core.tokens import GroupName, Tokens, concatenated, per_sample
from visionflow.errors import UnsupportedUsageError

Heads = Literal["mean", "max"] | tuple[float, ...]
"""How the weights of the heads are joined: their mean, their maximum, or a weight for each."""

CHUNK_ELEMENTS = 1 << 24  # fp32 attention weights held at a time: 64 MiB
CHUNK_KEYS = 1024  # keys or values converted to fp32 at a time, on an accelerator at least
_ELEMENTS_ON_ACCELERATOR = 1 << 26  # 256 MiB

_HAS_FP32_PRODUCTS = torch.version.hip is None and hasattr(torch.ops.aten.bmm, "dtype")


def chunk_elements(device: str, queries: int) -> int:
    """How many fp32 attention weights are held at a time.

    As many as the queries have numbers: a dense layer holds as much. On a CPU no more than fit its caches well; on an
    accelerator, where each operation costs the host the same whatever its size, at least those of a short prompt.

    Args:
        device: type of the device.
        queries: numbers in the queries of all tokens.
    """
    if device == "cpu":
        return min(CHUNK_ELEMENTS, queries)
    return min(_ELEMENTS_ON_ACCELERATOR, max(CHUNK_ELEMENTS, queries))


def in_chunks(states: Tensor) -> tuple[Tensor, ...]:
    """Keys or values ``[batch, kv_heads, keys, head_dim]`` in pieces, each of which is converted to fp32 at a time."""
    at_once = CHUNK_KEYS
    if states.device.type != "cpu":
        at_once = max(at_once, _ELEMENTS_ON_ACCELERATOR // max(1, states[:, :, :1].numel()))
    return torch.split(states, at_once, 2)


@dataclass(frozen=True)
class AttentionRows:
    """Some query rows of one layer's attention, after RoPE and norms, against all keys.

    Attributes:
        query: ``[batch, heads, queries, head_dim]`` of the tokens present, or of the last of them, where a prompt is
            run in chunks.
        key: ``[batch, kv_heads, keys, head_dim]``; the last of the keys belong to the tokens present.
        scaling: factor of the scores before the softmax.
        mask: as the layer got it: None (causal), bool or additive ``[batch or 1, heads or 1, tokens, keys]``, or bool
            ``[batch, keys]`` (causal over these keys).
        index: int64 ``[batch, rows]``, the rows to look at, as places in `query`, in their order.
        real: bool ``[batch, rows]``, False for rows that only fill up the batch.
        tokens: the tokens present.
        group: the processes that hold the heads, each as many; None where `query` has all.
        softcap: bound of the scaled scores, ``softcap * tanh(score / softcap)``; None for none.
        joined: how A is made of the heads' weights.
        share: fp32 ``[batch, tokens present]``, how much the row of each token counts; None for all alike.
        even: every sample has as many, so that all of `real` is known to be True.
    """

    query: Tensor
    key: Tensor
    scaling: float
    mask: Tensor | None
    index: Tensor
    real: Tensor
    tokens: Tokens
    group: ProcessGroup | None = None
    softcap: float | None = None
    joined: Heads = "mean"
    share: Tensor | None = None
    even: bool = False

    @classmethod
    def of(
        cls,
        chosen: GroupName,
        query: Tensor,
        key: Tensor,
        scaling: float,
        mask: Tensor | None,
        tokens: Tokens,
        **options: Any,
    ) -> Self:
        """The rows of a group of tokens, whose number is known on the host.

        Args:
            query: of all tokens present.
            options: the fields after `tokens`.
        """
        group = tokens.group(chosen)
        options["even"] = len(set(group.counts)) == 1
        if chosen != "last" or not tokens.full or any(tokens.answer.counts):
            return cls(query, key, scaling, mask, *group.index(), tokens, **options)
        if mask is not None and mask.dim() == 4:
            mask = mask[:, :, -1:]
        place, real = torch.zeros_like(tokens.columns[:, :1]), group.mask[:, -1:]  # it is the last one in every sample
        return cls(query[:, :, -1:], key, scaling, mask, place, real, tokens, **options)

    @property
    def held_at_once(self) -> int:
        """How many fp32 attention weights are held at a time."""
        return chunk_elements(self.query.device.type, self.query.numel())

    @property
    def past(self) -> int:
        """Keys that were in the cache before these queries."""
        return self.key.shape[2] - self.query.shape[2]

    @property
    def before(self) -> int:
        """Keys that were there before the tokens present: those of earlier turns."""
        return self.key.shape[2] - self.tokens.columns.shape[1]

    @property
    def places(self) -> Tensor:
        """The rows as places among the tokens present, int64 ``[batch, rows]``."""
        skipped = self.past - self.before
        return self.index + skipped if skipped else self.index

    def chunks(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Chunks of rows: their index and realness ``[batch, r]``, and A ``[batch, r, keys]``, zero in fillers.

        A row that counts more or less than others (`share`) is scaled by that. Later keys, which none of these rows may
        read, are left out where that is known without a look at a mask.
        """
        for start, end, keys in self._spans():
            index, real = self.index[:, start:end], self.real[:, start:end]
            weights = self._weights(index, [part[:, :, : self._keys_before(end)] for part in keys])
            joined = self._joined(weights.float())
            if not self.even or self.share is not None:
                counts = real if self.share is None else real * self.share.gather(1, self.places[:, start:end])
                joined = joined * counts.unsqueeze(2)
            yield index, real, joined

    def heads(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The same with A of each head that is here, ``[batch, heads, r, all keys]``, fp32 or fp64; fillers as well."""
        for start, end, keys in self._spans():
            index = self.index[:, start:end]
            yield index, self.real[:, start:end], self._weights(index, keys)

    def _joined(self, weights: Tensor) -> Tensor:
        """A ``[batch, r, keys]`` of the weights of the heads that are here."""
        if self.joined == "max":
            return over_processes(weights.amax(dim=1), self.group, ReduceOp.MAX)
        if self.joined == "mean":
            mean = over_processes(weights.mean(dim=1), self.group)
            return mean if self.group is None else mean / self.group.size()
        here = weights.shape[1]
        rank, processes = (0, 1) if self.group is None else (get_rank(self.group), self.group.size())
        if len(self.joined) != here * processes:
            raise UnsupportedUsageError(
                f"{len(self.joined)} head weights do not fit a layer of {here * processes} heads: give one for each"
            )
        shares = self.joined[rank * here : (rank + 1) * here]
        of_heads = per_sample(shares, weights.device, weights.dtype)
        return over_processes((weights * of_heads[:, :, None]).sum(1), self.group)

    def _spans(self) -> Iterator[tuple[int, int, Sequence[Tensor]]]:
        """From which row to which at a time, and the keys; many rows share one fp32 copy of these."""
        count = self.index.shape[1]
        step = max(1, self.held_at_once // (self.key.shape[0] * self.query.shape[1] * self.key.shape[2]))
        copied_once = count > step and not _sums_in_fp32(self.key)
        keys = [exact(self.key)] if copied_once else in_chunks(self.key)
        for start in range(0, count, step):
            yield start, min(start + step, count), keys

    def _keys_before(self, end: int) -> int:
        """How many keys the first `end` rows can read at most: the other rows come after them."""
        return self.key.shape[2] - (self.index.shape[1] - end if self.by_place else 0)

    @property
    def by_place(self) -> bool:
        """Whether rows read the keys up to their own place, and no mask of pairs says otherwise."""
        return self.mask is None or self.mask.dim() == 2

    def _weights(self, index: Tensor, keys: Sequence[Tensor]) -> Tensor:
        single = self.query.shape[2] == 1  # the last one, which reads all that a mask of pairs does not forbid
        query = self.query if single else tokens_at(self.query, index)
        scores = concatenated([scores_of(query, key, self.scaling) for key in keys], 3)
        if self.softcap is not None:
            scores = scores.div_(self.softcap).tanh() * self.softcap
        if self.mask is not None:
            scores = self._masked(scores, index, self.mask)
        if self.by_place and not single:
            place = torch.arange(scores.shape[3], device=scores.device)
            scores = scores.masked_fill_(place > self.at(index)[:, None, :, None], -torch.inf)
        return scores.softmax(dim=-1)

    def at(self, index: Tensor) -> Tensor:
        """The keys of the queries at `index`."""
        return index + self.past if self.past else index

    @staticmethod
    def _masked(scores: Tensor, index: Tensor, mask: Tensor) -> Tensor:
        """``[batch, heads, r, keys]``, lowest where `mask` forbids a row to read a key."""
        columns, lowest = scores.shape[3], torch.finfo(torch.float32).min
        if mask.dim() == 2:
            return scores.masked_fill_(~mask.to(scores.device)[:, None, None, :columns], lowest)
        mask = mask.expand(scores.shape[0], -1, -1, -1)
        mask = mask.gather(2, index[:, None, :, None].expand(-1, mask.shape[1], -1, columns))
        if mask.dtype == torch.bool:
            return scores.masked_fill_(~mask, lowest)
        return scores.add_(exact(mask).clamp(min=lowest))  # an fp64 mask's minimum would be -inf here


def over_processes(values: Tensor, group: ProcessGroup | None, op: ReduceOp.RedOpType = ReduceOp.SUM) -> Tensor:
    """The sum of what the processes of `group` have, the same bits in all of them; `values` where there is no group."""
    if group is None:
        return values
    values = values.contiguous()
    all_reduce(values, op, group=group)
    return values


def tokens_at(states: Tensor, places: Tensor) -> Tensor:
    """The tokens at `places` ``[batch, n]`` of ``[batch, heads, tokens, head_dim]``."""
    return states.gather(2, places[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3]))


def exact(values: Tensor) -> Tensor:
    """The values in fp32, or in fp64 where they are."""
    return values if values.dtype == torch.float64 else values.float()


def per_group(rows: Tensor, shared: Tensor) -> Tensor:
    """``rows @ shared``, where the query heads of a group share one key-value head: it is never repeated.

    Args:
        rows: ``[batch, heads, rows, inner]``.
        shared: ``[batch, kv_heads, inner, columns]``.

    Returns:
        ``[batch, heads, rows, columns]``.
    """
    batch, heads, count, inner = rows.shape
    with out_of_autocast(rows.device):
        grouped = rows.reshape(batch, shared.shape[1], -1, inner) @ shared
    return grouped.view(batch, heads, count, shared.shape[3])


def scores_of(query: Tensor, key: Tensor, scaling: float) -> Tensor:
    """``scaling * query @ key``, fp32 or fp64 ``[batch, heads, rows, keys]``.

    Where torch can, products of half precision are summed in fp32 and nothing is copied to it: they are exact there.

    Args:
        query: ``[batch, heads, rows, head_dim]``.
        key: ``[batch, kv_heads, keys, head_dim]``.
    """
    if not _sums_in_fp32(query):
        return per_group(exact(query) * scaling, exact(key).transpose(2, 3))
    (batch, heads, count, inner), groups = query.shape, key.shape[1]
    with out_of_autocast(query.device):
        grouped = query.reshape(batch * groups, heads // groups * count, inner)
        products = torch.bmm(grouped, key.transpose(2, 3).flatten(0, 1), out_dtype=torch.float32)
    return products.view(batch, heads, count, key.shape[2]).mul_(scaling)


def _sums_in_fp32(states: Tensor) -> bool:
    """Whether torch multiplies such tensors into fp32 (CUDA, and a torch that has it; there is no gradient of it)."""
    half = states.dtype in (torch.bfloat16, torch.float16)
    return half and states.device.type == "cuda" and not states.requires_grad and _HAS_FP32_PRODUCTS


def out_of_autocast(device: torch.device) -> AbstractContextManager[None]:
    """Out of ``torch.autocast``, in which products of fp32 numbers are made of bf16 ones."""
    enabled = torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if enabled else nullcontext()
