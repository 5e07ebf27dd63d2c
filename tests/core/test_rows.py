"""The rows of a group are the same where a shorter way to them is known: even counts, and the last row of all."""

import pytest
import torch
from torch import Tensor

from visionflow.core import AttentionRows, find_tokens, paid, received, received_after
from visionflow.core.tokens import GroupName, Tokens

FULL = torch.tensor([[1, 2, 9, 9, 9, 9, 3, 9, 9, 4, 5, 6], [1, 9, 9, 9, 9, 9, 9, 2, 3, 4, 5, 6]])
LEFT = torch.tensor([[1] * 12, [0] * 3 + [1] * 9])
CASES: dict[str, tuple[Tensor, int]] = {
    "full": (torch.ones_like(FULL), 0),
    "full with an answer": (torch.ones_like(FULL), 2),
    "left": (LEFT, 0),
    "left with an answer": (LEFT, 2),
    "right": (LEFT.flip(1), 0),
    "all padded alike": (torch.tensor([[0] * 2 + [1] * 10] * 2), 0),
}


def mask_of(kind: str, tokens: Tokens, past: int) -> Tensor | None:
    """What the layer gets: causal, without padding; a row without a key reads itself."""
    keys = torch.nn.functional.pad(tokens.valid, (past, 0), value=True)
    if kind == "none":
        return None
    if kind == "keys":
        return keys
    rows = tokens.valid.shape[1]
    own = torch.eye(rows, rows + past, dtype=torch.bool).roll(past, 1)
    pairs = (keys[:, None, :] & torch.ones(rows, rows + past, dtype=torch.bool).tril(past) | own)[:, None]
    pairs[:, :, -1, past + 4] = False  # the last row does not read all that a causal mask lets it
    return pairs if kind == "bool" else torch.zeros(pairs.shape).masked_fill(~pairs, torch.finfo(torch.float32).min)


@pytest.mark.parametrize("past", [0, 5])
@pytest.mark.parametrize("kind", ["none", "keys", "bool", "additive"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("chosen", ["last", "image", "instruction"])
def test_rows_of_a_group(chosen: GroupName, case: str, kind: str, past: int) -> None:
    valid, answer = CASES[case]
    tokens = find_tokens(FULL, valid, 9, past, answer)
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, heads, 12 + more, 8, generator=generator) for heads, more in ((4, 0), (2, past)))
    share = torch.rand(2, 12, generator=generator)
    options = {"softcap": 3.0, "joined": (0.5, 0.1, 0.1, 0.3), "share": share}
    mask = mask_of(kind, tokens, past)
    for each in ({}, options):
        rows = AttentionRows.of(chosen, query, key, 0.5, mask, tokens, **each)
        plainly = AttentionRows(query, key, 0.5, mask, *tokens.group(chosen).index(), tokens, **each)
        for reduce in (received, received_after, lambda rows: paid(rows, "image", exclude_self=True)):
            torch.testing.assert_close(reduce(rows), reduce(plainly))
    assert received(plainly).abs().sum() > 0
