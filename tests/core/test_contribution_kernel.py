"""The fused leave-one-out equals the plain one, in Triton's interpreter: ``make test-triton``."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from visionflow.core import contribution
from visionflow.core.attention import AttentionRows
from visionflow.core.tokens import find_tokens

pytest.importorskip("triton", reason="Triton comes with torch for CUDA; make test-triton installs it")
if not os.environ.get("TRITON_INTERPRET"):
    pytest.skip("Triton compiles for a GPU unless TRITON_INTERPRET=1, as in make test-triton", allow_module_level=True)

plain = importlib.import_module("visionflow.core.contribution")
kernel = importlib.import_module("visionflow.core.contribution_kernel")


@pytest.fixture(autouse=True)
def whatever_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "_LEAST_KEYS", {"cpu": 1})


def made(
    mask_kind: str, dtype: torch.dtype, kv_heads: int, size: int, value_size: int, length: int, past: int = 0
) -> tuple[AttentionRows, torch.Tensor]:
    """The last row of two samples, of which one is padded where there is a mask, and their values."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.full((2, length), 9)
    ids[:, :1], ids[:, -3:] = 5, 5
    ids[0, :2] = 0
    tokens = find_tokens(ids, None if mask_kind == "none" else ids != 0, 9, past)
    query = torch.randn(2, length, 4, size, generator=generator).to(dtype).transpose(1, 2)  # as projections leave them
    key = torch.randn(2, kv_heads, past + length, size, generator=generator).to(dtype)
    value = torch.randn(2, kv_heads, past + length, value_size, generator=generator).to(dtype)
    keys = torch.cat([torch.ones(2, past, dtype=torch.bool), tokens.valid], 1)
    pairs = keys[:, None, None, :] & torch.ones(length, past + length, dtype=torch.bool).tril(past)
    additive = torch.zeros(pairs.shape, dtype=dtype).masked_fill(~pairs, torch.finfo(dtype).min)
    mask = {"none": None, "keys": keys, "bool": pairs, "additive": additive}[mask_kind]
    return AttentionRows.of("last", query, key, size**-0.5, mask, tokens), value


def assert_fused_equals_plain(rows: AttentionRows, value: torch.Tensor) -> None:
    assert plain._terms_for(rows, value) is kernel.terms
    for found, expected in zip(kernel.terms(rows, value), plain._terms(rows, value), strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("mask_kind", ["none", "keys", "bool", "additive"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_masks_and_dtypes(mask_kind: str, dtype: torch.dtype) -> None:
    assert_fused_equals_plain(*made(mask_kind, dtype, kv_heads=2, size=16, value_size=16, length=40))


@pytest.mark.parametrize(("kv_heads", "size", "value_size"), [(1, 3, 3), (2, 20, 12), (4, 80, 80)])
def test_grouped_queries_and_heads_of_any_size(kv_heads: int, size: int, value_size: int) -> None:
    assert_fused_equals_plain(*made("keys", torch.float32, kv_heads, size, value_size, length=17))


@pytest.mark.parametrize(("length", "past"), [(5, 0), (32, 0), (33, 0), (7, 30), (70, 3)])
def test_lengths_that_are_no_multiple_of_a_block(length: int, past: int) -> None:
    assert_fused_equals_plain(*made("none", torch.float32, 2, 8, 8, length, past))


def test_a_row_that_is_not_the_last_reads_what_comes_before_it() -> None:
    rows, value = made("none", torch.float32, 2, 8, 8, length=40)
    query = torch.randn(2, 4, 40, 8, generator=torch.Generator().manual_seed(1))
    place = torch.tensor([[11], [36]])
    of_others = AttentionRows(query, rows.key, 0.3, None, place, torch.ones_like(place, dtype=torch.bool), rows.tokens)
    assert_fused_equals_plain(of_others, value)
    assert not kernel.terms(of_others, value)[0][0, 12:].any()


def test_values_are_read_where_they_lie() -> None:
    """Of a cache that has room for more, and of projections."""
    rows, value = made("none", torch.bfloat16, 2, 8, 8, length=20)
    roomy = torch.cat([value, torch.full_like(value, torch.nan)], 2)[:, :, :20]
    turned = value.transpose(1, 2).contiguous().transpose(1, 2)
    for each in (roomy, turned):
        assert not each.is_contiguous()
        assert_fused_equals_plain(rows, each)


def test_what_it_does_not_do_is_left_to_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, value = made("none", torch.float32, 2, 8, 8, length=20)
    fused = contribution(rows, value)
    assert plain._terms_for(rows, value.double()) is plain._terms
    monkeypatch.setattr(plain, "_LEAST_KEYS", {"cpu": 41})
    assert plain._terms_for(rows, value) is plain._terms
    torch.testing.assert_close(fused.similarity, contribution(rows, value).similarity)


def test_it_compiles_for_a_gpu(tmp_path: Path) -> None:
    """None is needed for that."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.core.compile_kernel"]
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    told = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert len(told.splitlines()) == 12
