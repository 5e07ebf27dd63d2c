"""What one row's attention output loses with each of the tokens it reads: leave-one-out in closed form."""

from dataclasses import dataclass

import torch
from torch import Tensor

from visionflow.core.attention import CHUNK_KEYS, AttentionRows, exact, over_processes, per_group

PRODUCTS = 3
"""Products of the row with all keys or values: its weights, its output, the output with each value."""


@dataclass(frozen=True)
class Contribution:
    """What a row's output o, before the output projection, owes to each token; fp32 (fp64 in fp64).

    Attributes:
        similarity: ``s_j = cos(o - c_j, o)``, ``[batch, tokens]``: 1 where the token does not matter.
        norm: ``m_j = ||c_j||``, ``[batch, tokens]``.
        output_norm: ``||o||``, ``[batch, 1]``.
    """

    similarity: Tensor
    norm: Tensor
    output_norm: Tensor


def contribution(rows: AttentionRows, value: Tensor) -> Contribution:
    """The contributions ``c_j = concat_h a_h[j] v_h[j]`` to the attention output ``o = sum_j c_j`` of one row.

    In closed form (VisiPruner's test, section 4), without the ``[tokens, d]`` tensor of all c_j::

        o . c_j = sum_h a_hj (o_h . v_hj)        m_j^2 = sum_h a_hj^2 ||v_hj||^2
        s_j = (||o||^2 - o . c_j) / (||o|| sqrt(||o||^2 - 2 o . c_j + m_j^2))

    Args:
        rows: one query row per sample, for example that of the last token.
        value: ``[batch, kv_heads, keys, head_dim]``.
    """
    [(_, _, weights)] = rows.heads()
    heads = weights.shape[1] // value.shape[1]
    chunks = list(zip(torch.split(weights, CHUNK_KEYS, 3), torch.split(value, CHUNK_KEYS, 2), strict=True))
    output = torch.stack([per_group(a, exact(v)) for a, v in chunks]).sum(0)
    dots, squares = [], []
    for a, v in chunks:
        v = exact(v)
        dots.append((a * per_group(output, v.transpose(2, 3))).sum((1, 2)))
        squares.append((a.square() * v.square().sum(3).repeat_interleave(heads, 1).unsqueeze(2)).sum((1, 2)))
    dot, square = torch.cat(dots, 1)[:, rows.before :], torch.cat(squares, 1)[:, rows.before :]
    total = output.square().sum((1, 2, 3)).unsqueeze(1)
    # All three are sums over heads, and some of these may be elsewhere.
    sums = over_processes(torch.cat([dot, square, total], 1), rows.group)
    dot, square, total = torch.split(sums, [dot.shape[1], square.shape[1], 1], 1)
    left = (total - 2 * dot + square).clamp(min=torch.finfo(total.dtype).tiny)
    similarity = (total - dot) / (total * left).sqrt()
    return Contribution(similarity.clamp(-1, 1), square.sqrt(), total.sqrt())
