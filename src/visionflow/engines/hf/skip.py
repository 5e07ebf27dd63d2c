"""Attention that leaves pairs uncomputed: text that does not read the picture is run against the text's keys alone."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from visionflow.core.attention import tokens_at
from visionflow.core.readings import readings, width
from visionflow.core.tokens import SPANS, GroupName, Tokens, pack
from visionflow.engines.hf import masks
from visionflow.errors import UnsupportedUsageError

Attend = Callable[..., tuple[Tensor, Tensor | None]]
"""A transformers attention function without its module: query, key, value, mask, and options by name."""

_BY_A_MASK = "by a mask of pairs, which flash attention does not take: call model.set_attn_implementation('sdpa')"


@dataclass(frozen=True)
class Part:
    """One reading of a batch.

    Attributes:
        rows: int64 ``[batch, rows]`` places of its rows, one past the end for fillers; None for all tokens.
        keys: int64 ``[batch, keys]`` places of its keys.
        mask: ``[batch, heads or 1, rows, keys]``, bool or additive; for flash attention ``[batch, keys]``, or None.
        causal: without a mask of pairs, whether each row reads no further than to the key in its place from the end.
    """

    rows: Tensor | None
    keys: Tensor
    mask: Tensor | None
    causal: bool | None = None


def parts_of(mask: Tensor | None, tokens: Tokens, blocked: Collection[GroupName]) -> list[Part]:
    """How a batch is run when the groups `blocked` do not read the image; the same for all layers with these tokens.

    Args:
        mask: as the layer gets it: None (causal), bool or additive ``[batch or 1, heads or 1, tokens, tokens]``.
        tokens: the tokens present.
        blocked: of "system", "image", "instruction".

    Raises:
        UnsupportedUsageError: an image token would be left with nothing to read.
    """
    if mask is None:
        mask = masks.causal(tokens.columns, tokens.columns)
    parts, readable = [], []
    for reading in readings(blocked):
        keys, real = _places(tokens, reading.keys)
        own = masks.forbid(masks.take_columns(mask, keys.to(mask.device)), ~real.to(mask.device)[:, None, None, :])
        rows, real = None, tokens.valid
        if len(reading.rows) < len(SPANS):
            places, real = _places(tokens, reading.rows)
            own = masks.take_rows(own, places.to(own.device))
            rows = places.masked_fill(~real, tokens.columns.shape[1])
        parts.append(Part(rows, keys, own))
        readable.append((masks.readable(own).any(3).all(1) | ~real.to(own.device)).all())
    if not bool(reduce(torch.logical_and, readable)):
        raise UnsupportedUsageError(_nothing_to_read(blocked))
    return parts


def unmasked_parts_of(tokens: Tokens, blocked: Collection[GroupName]) -> list[Part]:
    """The same for flash attention, which takes no mask of pairs, where at least the instruction is blocked.

    All text is run against itself, and the picture against the text before it, with itself or not: each of these is
    causal by its order, or has nothing to hide.

    Raises:
        UnsupportedUsageError: text stands between pictures, or samples differ where that takes a mask after all.
    """
    system, image, text = tokens.system, tokens.image, tokens.instruction
    if bool(((text.mask.cumsum(1) > 0) & image.mask).any()):
        raise UnsupportedUsageError(f"text between pictures is kept from reading them {_BY_A_MASK}")
    if "image" in blocked:
        if len({*image.counts}) > 1 or len({*system.counts}) > 1:
            raise UnsupportedUsageError(f"samples with pictures or beginnings of other lengths are told {_BY_A_MASK}")
        if not all(system.counts):
            raise UnsupportedUsageError(_nothing_to_read(blocked))
        seen = _part(tokens, ("image",), ("system",), causal=False)
    else:
        seen = _part(tokens, ("system", "image"), ("system", "image"), causal=True)
    return [_part(tokens, ("system", "instruction"), ("system", "instruction"), causal=True), seen]


def _part(tokens: Tokens, rows: tuple[GroupName, ...], keys: tuple[GroupName, ...], causal: bool) -> Part:
    """One without a mask, or with one of keys where samples differ."""
    places, running = _places(tokens, rows)
    read, real = _places(tokens, keys)
    lengths = {sum(each) for each in zip(*(tokens.group(name).counts for name in keys), strict=True)}
    rows_or_end = places.masked_fill(~running, tokens.columns.shape[1])
    return Part(rows_or_end, read, None if len(lengths) == 1 else real, causal)


def attend_in_parts(
    attend: Attend, query: Tensor, key: Tensor, value: Tensor, parts: Sequence[Part], **options: Any
) -> Tensor:
    """What the heads read, by the model's own attention function.

    Args:
        attend: the attention function.
        query: ``[batch, heads, tokens, head_dim]``.
        key, value: ``[batch, kv_heads, tokens, head_dim]``, no more keys than tokens.
        parts: see `parts_of`.
        options: handed on to `attend`.

    Returns:
        ``[batch, tokens, heads, head_dim]``; padding, which nobody reads, may be zero.
    """
    batch, heads, length, _ = query.shape
    reads = []
    for part in parts:
        rows = query if part.rows is None else tokens_at(query, part.rows.clamp(max=length - 1))
        causal = {} if part.causal is None else {"is_causal": part.causal}
        keys, values = tokens_at(key, part.keys), tokens_at(value, part.keys)
        reads.append(attend(rows, keys, values, part.mask, **{**options, **causal})[0])
        if part.rows is None:
            return reads[-1]
    output = reads[0].new_zeros(batch, length + 1, heads, value.shape[3])  # fillers write to the row that is cut off
    for part, read in zip(parts, reads, strict=True):
        assert part.rows is not None
        output = output.scatter(1, part.rows[:, :, None, None].expand_as(read), read)
    return output[:, :length]


def _nothing_to_read(blocked: Collection[GroupName]) -> str:
    named = " or ".join(name for name in SPANS if name in blocked)
    return (
        f"{named} tokens that may not read the image are left with nothing to read: put a system prompt (at least a "
        "beginning-of-sequence token) before the picture, or, where windows are short, do not block them"
    )


def _places(tokens: Tokens, names: tuple[GroupName, ...]) -> tuple[Tensor, Tensor]:
    """Places of the members of some groups in prompt order, ``[batch, width]``, and which are real."""
    members = torch.stack([tokens.group(name).mask for name in names]).any(0)
    return pack(members, width(tokens, names))
