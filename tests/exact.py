"""Arithmetic that knows no processor: fp64 throughout, where transformers itself falls back to fp32.

In fp32 two ways of computing the same thing differ by what the processor's kernels round, and the sharp attention of
the tiny models makes 1e-5 of it. In fp64 they differ by some 1e-13, so a test may ask for 1e-9 anywhere.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.llama import modeling_llama
from transformers.models.qwen2 import modeling_qwen2

EXACTLY = {"rtol": 1e-9, "atol": 1e-9}
"""How far two ways of computing the same thing may be apart in fp64."""
ROUNDED = {"rtol": 1e-5, "atol": 1e-6}
"""The same for fp32 results of fp64 models: sums of at most a hundred numbers, rounded to 6e-8 each."""


@contextmanager
def exact_in_double() -> Iterator[None]:
    """In fp64 models norms, rotary angles and eager's softmax are fp64 as well; other models are left alone."""

    def exact_norm(self: Any, hidden: Tensor) -> Tensor:
        normed: Tensor = hidden * torch.rsqrt(hidden.square().mean(-1, keepdim=True) + self.variance_epsilon)
        return normed * self.weight

    def exact_rotary(self: Any, hidden: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        angles = (position_ids[..., None] * self.inv_freq.to(hidden.dtype)).repeat(1, 1, 2)
        return angles.cos(), angles.sin()

    with pytest.MonkeyPatch.context() as patch:
        for module in (modeling_llama.LlamaRMSNorm, modeling_qwen2.Qwen2RMSNorm):
            patch.setattr(module, "forward", _for_double(exact_norm, module.forward))
        for module in (modeling_llama.LlamaRotaryEmbedding, modeling_qwen2.Qwen2RotaryEmbedding):
            patch.setattr(module, "forward", _for_double(exact_rotary, module.forward))
        patch.setattr(torch.nn.functional, "softmax", _in_own_dtype(torch.nn.functional.softmax))
        yield


def _for_double(exact: Callable[..., Any], usual: Callable[..., Any]) -> Callable[..., Any]:
    def forward(self: Any, hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        return (exact if hidden.dtype == torch.float64 else usual)(self, hidden, *args, **kwargs)

    return forward


def _in_own_dtype(usual: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def softmax(scores: Tensor, dim: int | None = None, dtype: torch.dtype | None = None, **options: Any) -> Tensor:
        return usual(scores, dim, dtype=None if scores.dtype == torch.float64 else dtype, **options)

    return softmax
