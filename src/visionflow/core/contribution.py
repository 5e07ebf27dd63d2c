"""What one row's attention output loses with each of the tokens it reads: leave-one-out in closed form."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, reduce
from importlib import import_module
from importlib.util import find_spec
from os import environ
from shutil import which

import torch
from torch import Tensor

from visionflow.core.attention import AttentionRows, exact, in_chunks, over_processes, per_group
from visionflow.core.tokens import concatenated

PRODUCTS = 3
"""Products of the row with all keys or values: its weights, its output, the output with each value."""

_LEAST_KEYS = {"cuda": 4096}
"""Keys of all samples from which on the fused kernels are used, by device: estimated. For fewer they save nothing."""

_Terms = Callable[[AttentionRows, Tensor], tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class Contribution:
    """What a row's output o, before the output projection, owes to each token; fp32 (fp64 in fp64).

    Attributes:
        dot: ``o . c_j``, ``[batch, tokens]``.
        square: ``||c_j||^2``, ``[batch, tokens]``.
        output_norm: ``||o||``, ``[batch, 1]``.
    """

    dot: Tensor
    square: Tensor
    output_norm: Tensor

    @property
    def similarity(self) -> Tensor:
        """``s_j = cos(o - c_j, o)``, ``[batch, tokens]``: 1 where the token does not matter."""
        total = self.output_norm.square()
        left = (total - 2 * self.dot + self.square).clamp(min=torch.finfo(total.dtype).tiny)
        return ((total - self.dot) / (total * left).sqrt()).clamp(-1, 1)

    @property
    def norm(self) -> Tensor:
        """``m_j = ||c_j||``, ``[batch, tokens]``."""
        return self.square.sqrt()


def contribution(rows: AttentionRows, value: Tensor) -> Contribution:
    """The contributions ``c_j = concat_h a_h[j] v_h[j]`` to the attention output ``o = sum_j c_j`` of one row.

    In closed form (VisiPruner's test, section 4), without the ``[tokens, d]`` tensor of all c_j::

        o . c_j = sum_h a_hj (o_h . v_hj)        m_j^2 = sum_h a_hj^2 ||v_hj||^2
        s_j = (||o||^2 - o . c_j) / (||o|| sqrt(||o||^2 - 2 o . c_j + m_j^2))

    Args:
        rows: one query row per sample, for example that of the last token.
        value: ``[batch, kv_heads, keys, head_dim]``.
    """
    dot, square, norm = _terms_for(rows, value)(rows, value)
    if rows.group is not None:  # all three are sums over heads, and some of these are elsewhere
        sums = over_processes(torch.cat([dot, square, norm.square()], 1), rows.group)
        dot, square, total = torch.split(sums, [dot.shape[1], square.shape[1], 1], 1)
        norm = total.sqrt()
    return Contribution(dot[:, rows.before :], square[:, rows.before :], norm)


def _terms_for(rows: AttentionRows, value: Tensor) -> _Terms:
    """The fused kernels where they do these rows and there are keys enough for them, and else what they are made of."""
    least = _LEAST_KEYS.get(value.device.type)
    fits = rows.softcap is None and value.dtype != torch.float64 and not value.requires_grad
    if least is None or len(value) * value.shape[2] < least or not fits or not _has_triton():
        return _terms
    fused: _Terms = import_module("visionflow.core.contribution_kernel").terms
    return fused


@cache
def _has_triton() -> bool:
    """Whether Triton is there, as beside torch for CUDA, with the C compiler that it calls and a GPU that it is for."""
    if torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 0):
        return False
    return find_spec("triton") is not None and any(map(which, (environ.get("CC", "cc"), "gcc", "clang")))


def _terms(rows: AttentionRows, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``o . c_j`` and ``||c_j||^2`` of all keys here, ``[batch, keys]``, and ``||o||``, ``[batch, 1]``."""
    [(_, _, weights)] = rows.heads()
    values = in_chunks(value)
    values = values if len(values) > 1 else (exact(value),)  # many are converted twice, and never all at once
    chunks = list(zip(torch.split(weights, [v.shape[2] for v in values], 3), values, strict=True))
    output = reduce(torch.add, [per_group(a, exact(v)) for a, v in chunks])
    dots, squares = [], []
    for a, v in chunks:
        v = exact(v)
        dots.append((a * per_group(output, v.transpose(2, 3))).sum((1, 2)))
        squares.append(_square_norms(a, v))
    dot, square = concatenated(dots, 1), concatenated(squares, 1)
    norm = torch.linalg.vector_norm(output, dim=(1, 2, 3)).unsqueeze(1)
    return dot, square, norm


def _square_norms(weights: Tensor, value: Tensor) -> Tensor:
    """``||c_j||^2`` of these keys, ``[batch, keys]``."""
    lengths = torch.linalg.vector_norm(value, dim=3)[:, :, None, None]
    by_head = weights.reshape(len(weights), value.shape[1], -1, *weights.shape[2:])  # heads of each key-value head
    squares: Tensor = (by_head * lengths).square().sum((1, 2, 3))
    return squares
