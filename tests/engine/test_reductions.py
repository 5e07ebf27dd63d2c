"""The reductions are plain functions of tensors; chunks, fillers and masks of either kind change nothing."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch._subclasses import FakeTensorMode

from visionflow.core import attention, log_sum_exp
from visionflow.core.attention import AttentionRows
from visionflow.core.reductions import paid, received, received_after
from visionflow.core.tokens import find_tokens

IMAGE = 9


def uneven_rows(kv_heads: int, dtype: torch.dtype) -> AttentionRows:
    """Rows of pictures in different places in each sample, and more rows in one."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.full((2, 24), IMAGE)
    ids[0, :3], ids[0, 20:], ids[1, :1], ids[1, 9:11], ids[1, 22:] = 5, 5, 5, 5, 5
    tokens = find_tokens(ids, None, IMAGE)
    query = (4 * torch.randn(2, 4, 24, 8, generator=generator)).to(dtype)
    key = torch.randn(2, kv_heads, 24, 8, generator=generator).to(dtype)
    return AttentionRows(query, key, 0.7, None, *tokens.image.index(), tokens)


def rows_of(group: str, mask_kind: str, kv_heads: int = 2) -> tuple[AttentionRows, torch.Tensor]:
    """Rows of a random padded batch, and the whole head-mean attention ``[batch, tokens, tokens]`` in fp64."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.tensor([[0, 0, 5, 9, 9, 9, 5, 5], [5, 9, 9, 5, 9, 9, 9, 5]])
    padded = mask_kind != "none"
    tokens = find_tokens(ids, (ids != 0).long() if padded else None, IMAGE)
    query = torch.randn(2, 4, 8, 3, generator=generator)
    key = torch.randn(2, kv_heads, 8, 3, generator=generator)
    allowed = torch.ones(8, 8, dtype=torch.bool).tril() & tokens.valid[:, None, None, :]
    allowed = allowed | torch.eye(8, dtype=torch.bool)
    scores = query.double() @ key.double().repeat_interleave(4 // kv_heads, 1).transpose(2, 3) * 0.7
    whole = scores.masked_fill(~allowed, -torch.inf).softmax(-1).mean(1)
    additive = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo().min)
    mask = {"bool": allowed, "additive": additive, "keys": tokens.valid, "none": None}[mask_kind]
    index, real = tokens.group(group).index()  # type: ignore[arg-type]
    return AttentionRows(query, key, 0.7, mask, index, real, tokens), whole


@pytest.mark.parametrize("mask_kind", ["bool", "additive", "none", "keys"])
@pytest.mark.parametrize("group", ["instruction", "image", "last"])
@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("chunk", [1, 1 << 24])
def test_reductions_equal_the_whole_matrix(
    group: str, mask_kind: str, exclude_self: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "CHUNK_ELEMENTS", chunk)
    rows, whole = rows_of(group, mask_kind)
    if exclude_self:
        whole = whole * (1 - torch.eye(8))
    of_rows = whole * rows.tokens.group(group).mask[:, :, None]  # type: ignore[arg-type]
    torch.testing.assert_close(received(rows, exclude_self).double(), of_rows.sum(1), rtol=1e-5, atol=1e-6)
    to_image = (of_rows * rows.tokens.image.mask[:, None, :]).sum(2)
    torch.testing.assert_close(paid(rows, "image", exclude_self).double(), to_image, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mask_kind", ["bool", "additive", "none", "keys"])
def test_received_after_is_received_where_no_row_reads_what_is_later(mask_kind: str) -> None:
    """Bit by bit."""
    rows, _ = rows_of("instruction", mask_kind)
    assert torch.equal(received_after(rows)[rows.tokens.image.mask], received(rows)[rows.tokens.image.mask])


def test_received_after_counts_text_for_the_pictures_before_it() -> None:
    """Where text reads both ways: two pictures of two tokens, text between and after, and the same behind a cache."""
    tokens = find_tokens(torch.tensor([[5, 9, 9, 5, 5, 9, 9, 5]]), None, IMAGE)
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, 2, 8, 3, generator=generator)
    for past in (0, 3):
        key = torch.randn(1, 2, past + 8, 3, generator=generator)
        mask = torch.ones(1, 1, 8, past + 8, dtype=torch.bool)
        rows = AttentionRows(query, key, 0.7, mask, *tokens.instruction.index(), tokens)
        whole = (query.double() @ key.double().transpose(2, 3) * 0.7).softmax(-1).mean(1)[0, :, past:]
        expected = torch.cat([whole[[3, 4, 7]][:, 1:3].sum(0), whole[[7]][:, 5:7].sum(0)])
        torch.testing.assert_close(received_after(rows)[tokens.image.mask].double(), expected, rtol=1e-5, atol=1e-6)


def test_bias_of_the_two_deep_criteria_under_uniform_attention() -> None:
    """Received favours early tokens and paid late ones, with nothing else to tell them apart."""
    ids = torch.tensor([[5] + [IMAGE] * 20 + [5]])
    tokens = find_tokens(ids, None, IMAGE)
    flat = torch.zeros(1, 1, 22, 4)
    rows = AttentionRows(flat, flat, 1.0, None, *tokens.image.index(), tokens)
    early_first = received(rows)[0, 1:21]
    late_first = paid(rows, "image")[0, 1:21]
    assert (early_first.diff() < 0).all()
    assert (late_first.diff() > 0).all()


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("chunk", [1, 1 << 24])
def test_what_rows_pay_from_the_log_sum_exp(
    kv_heads: int, dtype: torch.dtype, exclude_self: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = uneven_rows(kv_heads, dtype)
    plain = paid(rows, "image", exclude_self)
    assert log_sum_exp.log_sum_exp(rows) is None
    monkeypatch.setattr(attention, "CHUNK_ELEMENTS", chunk)
    monkeypatch.setattr(log_sum_exp, "_WORTHWHILE", {"cpu": 1})
    assert log_sum_exp.log_sum_exp(rows) is not None
    # The kernels that processors with vectors have take a fast exp in half precision: 5.4e-5 seen, where 2e-6 else.
    accuracy = 1e-5 if dtype == torch.float32 else 2e-4
    torch.testing.assert_close(paid(rows, "image", exclude_self), plain, rtol=0, atol=accuracy)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("exclude_self", [False, True])
def test_what_rows_read_from_two_log_sum_exps(
    kv_heads: int, dtype: torch.dtype, exclude_self: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = uneven_rows(kv_heads, dtype)
    plain = received(rows, exclude_self)
    assert log_sum_exp.received_from(rows) is None
    monkeypatch.setattr(log_sum_exp, "_WORTHWHILE_RECEIVED", {"cpu": 1})
    found = received(rows, exclude_self)
    assert not torch.equal(found, plain)  # they were counted in another way
    accuracy = 1e-5 if dtype == torch.float32 else 2e-4
    torch.testing.assert_close(found, plain, rtol=accuracy, atol=accuracy)
    assert torch.equal(received_after(rows), received(rows))


UNLIKE_PLAIN: dict[str, dict[str, Any]] = {
    "a mask": {"mask": torch.ones(1, 24, dtype=torch.bool)},
    "keys of earlier turns": {"key": torch.randn(1, 2, 29, 8)},
    "a softcap": {"softcap": 30.0},
    "the maximum of heads": {"joined": "max"},
    "heads held elsewhere": {"group": object()},
    "rows that count for more": {"share": torch.ones(1, 24)},
}


@pytest.mark.parametrize("what", UNLIKE_PLAIN)
def test_rows_that_are_not_plain_have_no_log_sum_exp(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel would give that of other rows."""
    monkeypatch.setattr(log_sum_exp, "_WORTHWHILE", {"cpu": 1})
    monkeypatch.setattr(log_sum_exp, "_WORTHWHILE_RECEIVED", {"cpu": 1})
    tokens = find_tokens(torch.full((1, 24), IMAGE), None, IMAGE)
    rows = AttentionRows(torch.randn(1, 4, 24, 8), torch.randn(1, 2, 24, 8), 0.7, None, *tokens.image.index(), tokens)
    assert log_sum_exp.log_sum_exp(rows) is not None
    assert log_sum_exp.received_from(rows) is not None
    unlike = replace(rows, **UNLIKE_PLAIN[what])
    assert log_sum_exp.log_sum_exp(unlike) is None
    assert log_sum_exp.received_from(unlike) is None


@pytest.mark.parametrize("size", [248, 256])
def test_a_head_needs_room_for_what_its_row_is_divided_by(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flash attention takes heads of 256 dimensions at most."""
    monkeypatch.setattr(log_sum_exp, "_WORTHWHILE_RECEIVED", {"cpu": 1})
    tokens = find_tokens(torch.full((1, 4), IMAGE), None, IMAGE)
    query = torch.randn(1, 2, 4, size)
    rows = AttentionRows(query, query, 0.1, None, *tokens.image.index(), tokens)
    assert (log_sum_exp.received_from(rows) is None) == (size == 256)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("chunk", [1, 1 << 24])
def test_half_precision_is_summed_in_fp32_without_copies(
    kv_heads: int, dtype: torch.dtype, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on CUDA: this processor has no such product, so one stands in for it."""
    seen = []

    def bmm(left: torch.Tensor, right: torch.Tensor, out_dtype: torch.dtype) -> torch.Tensor:
        seen.append({left.dtype, right.dtype})
        return left.to(out_dtype) @ right.to(out_dtype)

    monkeypatch.setattr(attention, "CHUNK_ELEMENTS", chunk)
    rows = uneven_rows(kv_heads, dtype)
    plain = received(rows)
    monkeypatch.setattr(torch, "bmm", bmm)
    monkeypatch.setattr(attention, "_sums_in_fp32", lambda states: True)
    torch.testing.assert_close(received(rows), plain, rtol=1e-5, atol=1e-6)
    assert all(each == {dtype} for each in seen)
    assert seen


def test_cuda_sums_half_precision_in_fp32() -> None:
    """Shapes alone."""
    with FakeTensorMode():
        query, key = (torch.empty(2, heads, 24, 64, dtype=torch.bfloat16, device="cuda") for heads in (4, 2))
        assert attention._sums_in_fp32(query)
        scores = attention.scores_of(query, key, 0.7)
        assert not attention._sums_in_fp32(query.float())
    assert scores.shape == (2, 4, 24, 24)
    assert scores.dtype == torch.float32


def test_cuda_has_the_kernel_as_it_is_called() -> None:
    """Shapes alone: no GPU is needed for these."""
    with FakeTensorMode():
        query = torch.empty(2, 4, 24, 64, dtype=torch.bfloat16, device="cuda")
        lse = log_sum_exp._KERNELS["cuda"][0](query, query, query, 0.0, True, scale=0.7)[1]
    assert lse.shape == (2, 4, 24)
    assert lse.dtype == torch.float32


def test_a_gpu_without_flash_attention_for_such_heads_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel itself would raise, on old cards, in builds without it, and for heads that are no multiple of 8."""
    with FakeTensorMode():
        usual, odd = (torch.empty(1, 4, 24, size, dtype=torch.bfloat16, device="cuda") for size in (64, 60))
        assert not log_sum_exp._has_flash(usual)  # nor is it in a torch for the CPU
        monkeypatch.setattr(log_sum_exp, "can_use_flash_attention", lambda asked: True)
        assert log_sum_exp._has_flash(usual)
        assert not log_sum_exp._has_flash(odd)
