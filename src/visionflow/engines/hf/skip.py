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


@dataclass(frozen=True)
class Part:
    """One reading of a batch.

    Attributes:
        rows: int64 ``[batch, rows]`` places of its rows, one past the end for fillers; None for all tokens.
        keys: int64 ``[batch, keys]`` places of its keys.
        mask: ``[batch, heads or 1, rows, keys]``, bool or additive.
    """

    rows: Tensor | None
    keys: Tensor
    mask: Tensor


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
        raise UnsupportedUsageError(
            f"{_named(blocked)} tokens that may not read the image are left with nothing to read: put a system prompt "
            "(at least a beginning-of-sequence token) before the picture, or, where windows are short, do not block "
            "them"
        )
    return parts


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
        reads.append(attend(rows, tokens_at(key, part.keys), tokens_at(value, part.keys), part.mask, **options)[0])
        if part.rows is None:
            return reads[-1]
    output = reads[0].new_zeros(batch, length + 1, heads, value.shape[3])  # fillers write to the row that is cut off
    for part, read in zip(parts, reads, strict=True):
        assert part.rows is not None
        output = output.scatter(1, part.rows[:, :, None, None].expand_as(read), read)
    return output[:, :length]


def _named(blocked: Collection[GroupName]) -> str:
    return " or ".join(name for name in SPANS if name in blocked)


def _places(tokens: Tokens, names: tuple[GroupName, ...]) -> tuple[Tensor, Tensor]:
    """Places of the members of some groups in prompt order, ``[batch, width]``, and which are real."""
    members = torch.stack([tokens.group(name).mask for name in names]).any(0)
    return pack(members, width(tokens, names))
