"""Leave-one-out in closed form, against the outputs computed one by one without each token."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from visionflow.core import attention, contribution
from visionflow.core.attention import AttentionRows
from visionflow.core.tokens import find_tokens

IMAGE = 9


def leave_one_out(
    query: Tensor, key: Tensor, value: Tensor, scaling: float, allowed: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """s_j and m_j of every key of one sample, from its definition, and ``||o - c_j|| / ||o||``.

    ``query`` is ``[heads, head_dim]``.
    """
    groups = query.shape[0] // key.shape[0]
    key, value = key.repeat_interleave(groups, 0), value.repeat_interleave(groups, 0)
    scores = torch.einsum("hd,hkd->hk", query, key) * scaling
    weights = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
    each = (weights[:, :, None] * value).transpose(0, 1).flatten(1)  # c_j, [keys, heads * head_dim]
    whole = each.sum(0)
    similarity = torch.stack([torch.cosine_similarity(whole - c, whole, dim=0) for c in each])
    return similarity, each.norm(dim=1), (whole - each).norm(dim=1) / whole.norm()


@given(
    seed=st.integers(0, 1000),
    kv_heads=st.sampled_from([1, 2, 4]),
    past=st.integers(0, 5),
    chunk=st.sampled_from([1, 3, 1024]),
    sharpness=st.sampled_from([0.1, 1.0, 8.0]),
    masked=st.booleans(),
)
def test_closed_form_equals_the_direct_computation(
    seed: int, kv_heads: int, past: int, chunk: int, sharpness: float, masked: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.tensor([[5, 5, 9, 9, 9, 5, 5], [0, 0, 5, 9, 9, 9, 5]])
    valid = (ids != 0).long() if masked else None
    tokens = find_tokens(ids, valid, IMAGE, past)
    query = torch.randn(2, 4, 7, 3, generator=generator, dtype=torch.float64)
    key, value = torch.randn(2, 2, kv_heads, past + 7, 3, generator=generator, dtype=torch.float64)
    allowed = torch.cat([torch.ones(2, past, dtype=torch.bool), tokens.valid], 1)
    mask = None
    if masked:
        causal = torch.ones(7, past + 7, dtype=torch.bool).tril(past)
        mask = allowed[:, None, None, :] & causal
    rows = AttentionRows(query, key, sharpness, mask, *tokens.last.index(), tokens)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "CHUNK_KEYS", chunk)
        found = contribution(rows, value)
    assert found.similarity.dtype == torch.float64
    for sample in range(2):
        given = (query[sample, :, -1], key[sample], value[sample], sharpness, allowed[sample])
        similarity, norm, rest = (each[past:] for each in leave_one_out(*given))
        # Where one token is nearly all of the output, where the rest points is a difference of nearly equal numbers.
        apart = found.similarity[sample] - similarity
        assert float((apart * rest).abs().max()) < 1e-9
        assert float((apart * (rest > 1e-3)).abs().max()) < 1e-9
        torch.testing.assert_close(found.norm[sample], norm, rtol=1e-9, atol=1e-12)


def test_half_precision_is_read_in_fp32() -> None:
    """bf16 has no number between 0.996 and 1, where the thresholds are."""
    generator = torch.Generator().manual_seed(0)
    tokens = find_tokens(torch.tensor([[5] + [IMAGE] * 40 + [5]]), None, IMAGE)
    query, key, value = (torch.randn(1, 4, 42, 8, generator=generator).bfloat16() for _ in range(3))
    rows = AttentionRows(query, key, 0.3, None, *tokens.last.index(), tokens)
    exact_rows = AttentionRows(query.double(), key.double(), 0.3, None, *tokens.last.index(), tokens)
    half, full = contribution(rows, value), contribution(exact_rows, value.double())
    assert half.similarity.dtype == torch.float32
    torch.testing.assert_close(half.similarity.double(), full.similarity, rtol=0, atol=1e-5)
    torch.testing.assert_close(half.norm.double(), full.norm, rtol=1e-4, atol=1e-6)
