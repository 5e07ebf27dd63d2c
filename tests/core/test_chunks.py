"""Scores add up over chunks of rows: a prompt that is run in pieces is judged as one that is run at once."""

import pytest
import torch
from torch import Tensor

from visionflow.core import AttentionRows, Paid, Received, ReceivedAfter, Reduction, find_tokens
from visionflow.core.attention import chunk_elements, in_chunks
from visionflow.core.reductions import joined
from visionflow.core.tokens import GroupName, Tokens

IMAGE = 9
IDS = torch.tensor([[1, 2, 9, 9, 9, 9, 3, 9, 9, 4, 5, 6], [0, 0, 1, 9, 9, 9, 9, 9, 2, 3, 4, 5]])
VALID = torch.tensor([[1] * 12, [0] * 2 + [1] * 10])


def scores(
    query: Tensor, key: Tensor, tokens: Tokens, rows: GroupName, reduce: Reduction, past: int, start: int, end: int
) -> Tensor:
    """What the rows from `start` to `end` say, of the tokens up to there, with `past` keys of earlier turns before."""
    so_far = tokens.take(torch.arange(end).expand(len(IDS), -1), tokens.valid[:, :end], counts(tokens, end))
    chosen = tokens.group(rows).mask[:, start:end]
    order = chosen.to(torch.int8).argsort(dim=1, stable=True)[:, end - start - int(chosen.sum(1).max()) :]
    real = chosen.gather(1, order)
    mask = torch.nn.functional.pad(tokens.valid[:, :end], (past, 0), value=True)
    return reduce(AttentionRows(query[:, :, start:end], key[:, :, : past + end], 0.5, mask, order, real, so_far))


def counts(tokens: Tokens, end: int) -> tuple[int, ...]:
    return tuple(tokens.image.mask[:, :end].sum(1).tolist())


@pytest.mark.parametrize("past", [0, 5])
@pytest.mark.parametrize("cuts", [(4, 12), (1, 5, 6, 12), (11, 12)], ids=str)
@pytest.mark.parametrize(
    ("rows", "reduce"),
    [
        ("instruction", ReceivedAfter()),
        ("instruction", Received()),
        ("image", Received(exclude_self=True)),
        ("image", Paid("image")),
        ("image", Paid("image", exclude_self=True)),
    ],
    ids=str,
)
def test_chunks_equal_the_whole(rows: GroupName, reduce: Reduction, cuts: tuple[int, ...], past: int) -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 4, 12, 8).double(), torch.randn(2, 2, past + 12, 8).double()
    tokens = find_tokens(IDS, VALID, IMAGE)
    whole = scores(query, key, tokens, rows, reduce, past, 0, 12)
    starts = (0, *cuts[:-1])
    parts = [
        scores(query, key, tokens, rows, reduce, past, start, end) for start, end in zip(starts, cuts, strict=True)
    ]
    image = tokens.image.mask
    torch.testing.assert_close(joined(parts)[image], whole[image], rtol=1e-6, atol=1e-6)
    assert whole[image].abs().sum() > 0


@pytest.mark.parametrize(
    ("device", "queries", "held"),
    [
        ("cpu", 32 * 640 * 128, 32 * 640 * 128),  # as many as the queries have
        ("cpu", 1 << 30, 1 << 24),
        ("cuda", 32 * 640 * 128, 1 << 24),  # HiMAP's second look at 576 tokens is one chunk
        ("cuda", 8 * 32 * 2944 * 128, 1 << 26),
        ("cuda", 1 << 25, 1 << 25),
    ],
)
def test_how_much_is_held_at_a_time_is_a_matter_of_the_device(device: str, queries: int, held: int) -> None:
    assert chunk_elements(device, queries) == held


@pytest.mark.parametrize(
    ("device", "shape", "sizes"),
    [
        ("cpu", (1, 2, 2500, 4), [1024, 1024, 452]),
        ("meta", (1, 32, 16384, 128), [16384]),
        ("meta", (8, 32, 2944, 128), [2048, 896]),
        ("meta", (1, 2, 0, 4), [0]),
    ],
)
def test_how_many_keys_are_converted_at_a_time_is_too(device: str, shape: tuple[int, ...], sizes: list[int]) -> None:
    assert [each.shape[2] for each in in_chunks(torch.empty(shape, device=device))] == sizes
