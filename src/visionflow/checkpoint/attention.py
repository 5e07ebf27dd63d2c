"""Attention for rows of lessons: each lesson sees the pictures before it and its own chunk of the row, nothing else.

So three quarters of the scores need not be computed, and what is left is plain products of matrices, which processors
with bf16 units multiply ten times as fast; the backward pass of torch's fused kernel took half of every step.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

NAME = "visionflow-lessons"
CHUNK = 64
"""Tokens of a chunk of lessons; no lesson lies in two."""


class _Softmax(torch.autograd.Function):
    """Softmax of scores and their bias, which keeps nothing but the shares for the way back."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, bias: Tensor) -> Tensor:
        shares = scores.add_(bias).softmax(-1)
        ctx.save_for_backward(shares)
        return shares

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (shares,) = ctx.saved_tensors
        return torch._softmax_backward_data(gradients[0], shares, -1, shares.dtype), None


@dataclass(frozen=True)
class Sight:
    """Who sees whom, as biases that are 0 where a token is seen and -inf where not.

    `pictures` [b, 1, start, start] of the tokens before the lessons, `chunks` [b, 1, chunks, CHUNK, start + CHUNK] of
    the lessons: first what they see of the pictures, then of their own chunk.
    """

    pictures: Tensor
    chunks: Tensor

    @classmethod
    def of(cls, mask: Tensor, start: int, dtype: torch.dtype) -> "Sight":
        """From a whole mask, bool [b, n, n]; its lessons begin at `start`."""
        bias = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, float("-inf"))[:, None]
        seen = _in_chunks(bias[:, :, start:, :start])
        blocks = _in_chunks(bias[:, :, start:, start:]).unfold(4, CHUNK, CHUNK)
        own = blocks.diagonal(dim1=2, dim2=4).movedim(-1, 2)
        return cls(bias[:, :, :start, :start], torch.cat([seen, own], dim=-1))


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    sight: Sight,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention in the form that transformers calls: [b, heads, n, width] in, [b, n, heads, width] out."""
    groups, start = query.shape[1] // key.shape[1], sight.pictures.shape[-1]
    query = query * scaling
    key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))
    before_key, before_value = key[:, :, :start], value[:, :, :start]
    pictures = _softmax(query[:, :, :start] @ before_key.mT, sight.pictures) @ before_value
    asked, own, held = (_in_chunks(each[:, :, start:]) for each in (query, key, value))
    seen = _in_chunks(query[:, :, start:] @ before_key.mT)
    shares = _softmax(torch.cat([seen, asked @ own.mT], dim=-1), sight.chunks)
    from_pictures = shares[..., :start].flatten(2, 3) @ before_value
    lessons = from_pictures + (shares[..., start:] @ held).flatten(2, 3)
    return torch.cat([pictures, lessons], dim=2).transpose(1, 2).contiguous(), None


def _in_chunks(rows: Tensor) -> Tensor:
    """[b, heads, chunks * CHUNK, m] as [b, heads, chunks, CHUNK, m]."""
    return rows.reshape(*rows.shape[:2], -1, CHUNK, rows.shape[-1])


def _softmax(scores: Tensor, bias: Tensor) -> Tensor:
    shares: Tensor = _Softmax.apply(scores, bias)  # type: ignore[no-untyped-call]
    return shares


AttentionInterface.register(NAME, attend)
