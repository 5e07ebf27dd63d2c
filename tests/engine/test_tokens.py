"""Spans, packing and ranking, on prompts of every shape."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from visionflow.core.selection import best
from visionflow.core.tokens import Group, find_tokens, pack

IMAGE = 9
# A prompt: pieces of text (their length) and pictures (minus their length), in any order.
pieces = st.lists(st.one_of(st.integers(1, 4), st.integers(-5, -1)), min_size=1, max_size=6)


def batch(prompts: list[list[int]], left: bool) -> tuple[Tensor, Tensor]:
    rows = [[IMAGE if piece < 0 else 5 for piece in prompt for _ in range(abs(piece))] for prompt in prompts]
    width = max(len(row) for row in rows)
    padded = [[0] * (width - len(row)) + row if left else row + [0] * (width - len(row)) for row in rows]
    return torch.tensor(padded), (torch.tensor(padded) != 0).long()


@given(st.lists(pieces, min_size=1, max_size=4), st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_token_is_in_exactly_one_group(prompts: list[list[int]], left: bool) -> None:
    ids, mask = batch(prompts, left)
    tokens = find_tokens(ids, mask, IMAGE)
    groups = [tokens.system, tokens.image, tokens.instruction]
    assert torch.equal(sum(group.mask.long() for group in groups), mask)
    for group in [*groups, tokens.last]:
        assert tuple(group.mask.sum(1).tolist()) == group.counts
    for row, prompt in enumerate(prompts):
        assert tokens.image.counts[row] == -sum(piece for piece in prompt if piece < 0)
        before = [piece for i, piece in enumerate(prompt) if all(earlier > 0 for earlier in prompt[: i + 1])]
        assert tokens.system.counts[row] == sum(before)
        assert tokens.last.mask[row].nonzero().item() == mask[row].nonzero().max()
    assert tokens.lengths() == tuple(mask.sum(1).tolist())


@given(st.lists(pieces, min_size=1, max_size=4), st.booleans())
@settings(max_examples=30, deadline=None)
def test_without_pictures_the_placeholder_is_text(prompts: list[list[int]], left: bool) -> None:
    tokens = find_tokens(*batch(prompts, left), None)
    assert not tokens.image.mask.any()
    assert tokens.system.counts == tokens.lengths()


@given(st.lists(pieces, min_size=1, max_size=4), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_an_answer_is_what_comes_after_the_prompt_whatever_its_tokens(prompts: list[list[int]], answer: int) -> None:
    ids, mask = batch(prompts, left=True)
    prompt = find_tokens(ids, mask, IMAGE)
    along = torch.full((len(ids), answer), IMAGE)
    tokens = find_tokens(torch.cat([ids, along], 1), torch.cat([mask, torch.ones_like(along)], 1), IMAGE, 0, answer)
    for name in ("system", "image", "instruction", "last"):
        group, alone = tokens.group(name), prompt.group(name)
        assert torch.equal(group.mask[:, :-answer], alone.mask)
        assert group.counts == alone.counts
    assert torch.equal(tokens.answer.mask, torch.cat([mask == 2, along == IMAGE], 1))
    assert tokens.lengths() == tuple((mask.sum(1) + answer).tolist())


@given(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=4), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_packing_keeps_members_in_order(rows: list[list[bool]], spare: int) -> None:
    mask = torch.tensor(rows)
    width = min(7, int(mask.sum(1).max()) + spare)
    index, real = pack(mask, width)
    assert index.shape == (len(rows), width)
    for row in range(len(rows)):
        assert index[row][real[row]].tolist() == mask[row].nonzero().flatten().tolist()
        assert not mask[row][index[row][~real[row]]].any()
        assert len(set(index[row].tolist())) == width


@given(st.data(), st.integers(1, 4), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_the_best_are_members_and_ties_go_to_the_first(data: st.DataObject, rows: int, columns: int) -> None:
    members = torch.tensor(
        data.draw(st.lists(st.lists(st.booleans(), min_size=columns, max_size=columns), min_size=rows, max_size=rows))
    )
    scores = torch.tensor(
        data.draw(
            st.lists(
                st.lists(st.sampled_from([0.0, 1.0, 2.0, -float("inf")]), min_size=columns, max_size=columns),
                min_size=rows,
                max_size=rows,
            )
        )
    )
    sizes = tuple(members.sum(1).tolist())
    counts = tuple(data.draw(st.integers(0, size)) for size in sizes)
    keep = best(scores, Group(members, sizes), counts)
    for row in range(rows):
        own = members[row].nonzero().flatten().tolist()
        expected = sorted(sorted(own, key=lambda column: (-float(scores[row, column]), column))[: counts[row]])
        assert keep[row].nonzero().flatten().tolist() == expected
