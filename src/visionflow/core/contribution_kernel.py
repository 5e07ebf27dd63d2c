"""What one row's output owes to each token, in two Triton kernels that read keys and values as they are.

`visionflow.core.contribution` is the definition; it copies keys and values to fp32 and goes over them several times.
Here a program for each head makes the output, and then one for each block of keys what the output owes to them. Sums
are fp32, and nothing as large as the keys is written.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from visionflow.core.attention import AttentionRows

_KEYS = 32  # keys of a block
_LOWEST = tl.constexpr(torch.finfo(torch.float32).min)


@triton.jit
def _block(states, columns, last, stride, dims, size):
    """The states of some keys, fp32 ``[keys, dims]``; zero beyond the last one that is read."""
    here = (columns <= last)[:, None] & (dims < size)[None, :]
    places = columns.to(tl.int64)[:, None] * stride + dims[None, :]
    return tl.load(states + places, mask=here, other=0.0).to(tl.float32)


@triton.jit
def _scores(query, key, mask, columns, last, stride, scaling, MASKED: tl.constexpr):
    """The scores of some keys; as in `AttentionRows` lowest where the mask forbids them."""
    scores = tl.sum(query[None, :] * key, 1) * scaling
    if MASKED:
        allowed = tl.load(mask + columns.to(tl.int64) * stride, mask=columns <= last, other=0)
        if mask.dtype.element_ty.is_int():
            scores = tl.where(allowed != 0, scores, _LOWEST)
        else:
            scores += tl.maximum(allowed.to(tl.float32), _LOWEST)
    return tl.where(columns <= last, scores, -float("inf"))


@triton.jit
def _attend(
    query,
    key,
    value,
    mask,
    index,
    outputs,
    statistics,
    scaling,
    sizes,
    strides,
    MASKED: tl.constexpr,
    BY_PLACE: tl.constexpr,
    KEYS: tl.constexpr,
    DIMS: tl.constexpr,
    VALUE_DIMS: tl.constexpr,
):
    """The output of one head, and what its weights are made with: the highest score, and the sum of the weights."""
    keys, past, heads, groups, size, value_size = sizes
    of_query, of_key, of_value, of_mask = strides
    sample, head = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    group, row = head // (heads // groups), tl.load(index + sample)
    last = tl.minimum(row + past, keys - 1) if BY_PLACE else keys - 1
    dims, value_dims = tl.arange(0, DIMS), tl.arange(0, VALUE_DIMS)
    query += sample * of_query[0] + head * of_query[1] + row * of_query[2]
    key += sample * of_key[0] + group * of_key[1]
    value += sample * of_value[0] + group * of_value[1]
    mask += sample * of_mask[0] + head * of_mask[1] + row * of_mask[2]
    asked = tl.load(query + dims, mask=dims < size, other=0.0).to(tl.float32)
    highest, total = -float("inf"), 0.0
    output = tl.zeros([VALUE_DIMS], tl.float32)
    for start in range(0, last + 1, KEYS):
        columns = start + tl.arange(0, KEYS)
        known = _block(key, columns, last, of_key[2], dims, size)
        scores = _scores(asked, known, mask, columns, last, of_mask[3], scaling, MASKED)
        higher = tl.maximum(highest, tl.max(scores, 0))
        weights, shrunk = tl.exp(scores - higher), tl.exp(highest - higher)
        read = _block(value, columns, last, of_value[2], value_dims, value_size)
        output = output * shrunk + tl.sum(weights[:, None] * read, 0)
        total = total * shrunk + tl.sum(weights, 0)
        highest = higher
    place = sample * heads + head
    tl.store(outputs + place * value_size + value_dims, output / total, mask=value_dims < value_size)
    tl.store(statistics + 2 * place, highest)
    tl.store(statistics + 2 * place + 1, total)


@triton.jit
def _owe(
    query,
    key,
    value,
    mask,
    index,
    outputs,
    statistics,
    dots,
    squares,
    scaling,
    sizes,
    strides,
    MASKED: tl.constexpr,
    BY_PLACE: tl.constexpr,
    KEYS: tl.constexpr,
    DIMS: tl.constexpr,
    VALUE_DIMS: tl.constexpr,
):
    """``o . c_j`` and ``||c_j||^2`` of a block of keys, summed over heads."""
    keys, past, heads, groups, size, value_size = sizes
    of_query, of_key, of_value, of_mask = strides
    sample, columns = tl.program_id(0).to(tl.int64), tl.program_id(1) * KEYS + tl.arange(0, KEYS)
    row = tl.load(index + sample)
    last = tl.minimum(row + past, keys - 1) if BY_PLACE else keys - 1
    dims, value_dims = tl.arange(0, DIMS), tl.arange(0, VALUE_DIMS)
    query += sample * of_query[0] + row * of_query[2]
    key += sample * of_key[0]
    value += sample * of_value[0]
    mask += sample * of_mask[0] + row * of_mask[2]
    dot, square = tl.zeros([KEYS], tl.float32), tl.zeros([KEYS], tl.float32)
    for group in range(groups):
        known = _block(key + group * of_key[1], columns, last, of_key[2], dims, size)
        read = _block(value + group * of_value[1], columns, last, of_value[2], value_dims, value_size)
        length = tl.sum(read * read, 1)
        for head in range(group * (heads // groups), (group + 1) * (heads // groups)):
            asked = tl.load(query + head * of_query[1] + dims, mask=dims < size, other=0.0).to(tl.float32)
            scores = _scores(asked, known, mask + head * of_mask[1], columns, last, of_mask[3], scaling, MASKED)
            place = sample * heads + head
            highest, total = tl.load(statistics + 2 * place), tl.load(statistics + 2 * place + 1)
            weights = tl.exp(scores - highest) / total
            output = tl.load(outputs + place * value_size + value_dims, mask=value_dims < value_size, other=0.0)
            dot += weights * tl.sum(read * output[None, :], 1)
            square += weights * weights * length
    tl.store(dots + sample * keys + columns, dot, mask=columns < keys)
    tl.store(squares + sample * keys + columns, square, mask=columns < keys)


def terms(rows: AttentionRows, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``o . c_j``, ``||c_j||^2`` of all keys and ``||o||``, fp32 ``[batch, keys]`` twice and ``[batch, 1]``.

    Args:
        rows: one row per sample, of fp32 or half precision and without a softcap.
        value: ``[batch, kv_heads, keys, head_dim]``.
    """
    states = [_dense(each) for each in (rows.query, rows.key, value)]
    mask, index = _mask(rows), rows.index.contiguous()
    (batch, heads, _, size), groups, keys, value_size = rows.query.shape, *value.shape[1:]
    outputs = value.new_empty((batch, heads, value_size), dtype=torch.float32)
    statistics = value.new_empty((batch, heads, 2), dtype=torch.float32)
    dots, squares = value.new_empty((2, batch, keys), dtype=torch.float32).unbind()
    sizes = (keys, rows.past, heads, groups, size, value_size)
    strides = tuple(each.stride() for each in (*states, mask))
    kinds: dict[str, Any] = {
        "MASKED": rows.mask is not None,
        "BY_PLACE": rows.by_place,
        "KEYS": _KEYS,
        "DIMS": triton.next_power_of_2(size),
        "VALUE_DIMS": triton.next_power_of_2(value_size),
    }
    given = (*states, mask, index, outputs, statistics)
    _attend[batch, heads](*given, rows.scaling, sizes, strides, **kinds)
    _owe[batch, triton.cdiv(keys, _KEYS)](*given, dots, squares, rows.scaling, sizes, strides, **kinds)
    return dots, squares, torch.linalg.vector_norm(outputs, dim=(1, 2)).unsqueeze(1)


def _dense(states: Tensor) -> Tensor:
    """The states with the dimensions of a head side by side."""
    return states if states.stride(3) == 1 else states.contiguous()


def _mask(rows: AttentionRows) -> Tensor:
    """The mask as one of pairs ``[batch, heads, rows, keys]``, bytes where it is bool; any where there is none."""
    if rows.mask is None:
        return rows.query
    mask = rows.mask.to(rows.query.device)
    mask = mask.view(torch.uint8) if mask.dtype == torch.bool else mask
    if mask.dim() == 2:
        mask = mask[:, None, None, :]
    return mask.expand(len(rows.query), rows.query.shape[1], rows.query.shape[2], -1)
