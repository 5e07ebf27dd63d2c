"""Choices made one after the other are those of their definitions, sample by sample, in any company."""

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests import formulas
from visionflow import SparseVLM
from visionflow.core import (
    Coverage,
    Dpp,
    FarFromPivots,
    Length,
    LikeText,
    Raters,
    Recycled,
    Select,
    Shown,
    TextAndImageCoverage,
    Tokens,
    TopThenCoverage,
    find_tokens,
)

IMAGE = 9
SELECTS = [
    Dpp(),
    Coverage(),
    Coverage(0.0),
    TopThenCoverage(),
    TopThenCoverage(0.3),
    TextAndImageCoverage(),
    FarFromPivots(),
    FarFromPivots(2, 1),
    Recycled(),
]


def tokens_of(images: list[int]) -> Tokens:
    """Samples of two text tokens, so many image tokens and three of text, padded on the left."""
    width = max(images) + 5
    ids = torch.zeros(len(images), width, dtype=torch.long)
    for sample, n in enumerate(images):
        ids[sample, width - n - 5 :] = torch.tensor([1, 2, *[IMAGE] * n, 3, 4, 5])
    return find_tokens(ids, (ids > 0).long(), IMAGE)


def expected(select: Select, image: Tensor, text: Tensor, scores: tuple[Tensor, Tensor], count: int) -> list[int]:
    """What the formula says of one sample."""
    of_image, of_text = scores
    if isinstance(select, Dpp):
        return formulas.dpp(image, of_image.double(), count)
    if isinstance(select, Coverage):
        return formulas.scope(image, of_image, select.power, count)
    if isinstance(select, TopThenCoverage):
        return formulas.cover(image, of_image, select.top, count)
    if isinstance(select, TextAndImageCoverage):
        return formulas.mmtok(image, text, count)
    if isinstance(select, FarFromPivots):
        return formulas.dart(image, text, (of_image, of_text), (select.image, select.text), count)
    return formulas.recycled(image, of_image.tolist(), count)[0]


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(SELECTS),
    st.lists(st.integers(0, 24), min_size=1, max_size=3),
    st.floats(0.05, 1.0),
    st.integers(3, 16),
    st.integers(0, 2**31),
)
def test_choices_are_those_of_the_formula(
    select: Select, images: list[int], share: float, width: int, seed: int
) -> None:
    """Different numbers of image tokens in one batch, more of them than there are dimensions."""
    tokens, generator = tokens_of(images), torch.Generator().manual_seed(seed)
    features = torch.randn(*tokens.columns.shape, width, generator=generator).double()
    scores = torch.rand(tokens.columns.shape, generator=generator) + 0.01
    counts = tuple(min(n, max(1, round(share * n))) for n in images)
    chosen = select(Shown(scores, features), tokens, counts)
    for sample, count in enumerate(counts):
        own, said = tokens.image.mask[sample], tokens.instruction.mask[sample]
        kept = chosen.keep[sample][own].nonzero()[:, 0].tolist()
        parts = (scores[sample][own], scores[sample][said])
        if count and not (images[sample] == count and isinstance(select, Recycled)):
            assert kept == expected(select, features[sample][own], features[sample][said], parts, count)
        assert not chosen.keep[sample][~own].any()
        assert len(kept) == count


def test_a_share_of_the_kept_is_counted_in_decimals() -> None:
    """0.29 of 100 are 29, though 0.29 * 100 is 28.999...96 in binary: the 29th by score stays, which covers nothing."""
    tokens = tokens_of([101])
    own = tokens.image.mask[0]
    features = torch.zeros(1, len(own), 101)
    features[0, own] = torch.eye(101)
    scores = torch.zeros(1, len(own))
    scores[0, own] = torch.arange(101.0)
    features[0, own.nonzero()[72:, 0]] = features[0, own.nonzero()[100, 0]].clone()  # the 29 best are one and the same
    keep = TopThenCoverage(0.29)(Shown(scores, features), tokens, (100,)).keep[0][own]
    assert int(keep[72:].sum()) == 29


@settings(deadline=None, max_examples=25)
@given(st.integers(12, 60), st.floats(0.1, 0.9), st.integers(0, 2**31))
def test_recycled_tokens_go_where_the_formula_says(n: int, share: float, seed: int) -> None:
    tokens, generator = tokens_of([n, 5]), torch.Generator().manual_seed(seed)
    features = torch.randn(*tokens.columns.shape, 8, generator=generator).double()
    scores = torch.rand(tokens.columns.shape, generator=generator)
    count, own = round(share * n), tokens.image.mask[0]
    chosen = Recycled()(Shown(scores, features), tokens, (count, 5))
    assert chosen.into is not None
    moved = {place: int(target) for place, target in enumerate(chosen.into[0]) if place != int(target)}
    into = formulas.recycled(features[0][own], scores[0][own].tolist(), count)[1]
    first = int(own.nonzero()[0])
    assert moved == {first + token: first + target for token, target in into.items()}
    assert torch.equal(chosen.into[1], torch.arange(n + 5))


def test_the_published_counts_of_recycling() -> None:
    """SparseVLM's released code: of 576 tokens, rows after each cut for "192", "128" and "64", and the best of them."""
    recycled = Recycled()
    for r, kept, best in (
        (SparseVLM.ratios, (309, 204, 113), (300, 200, 110)),
        ((0.4584, 0.625, 0.6667), (312, 117, 39), (303, 110, 36)),
        ((0.8577, 0.6098, 0.4375), (82, 32, 18), (66, 30, 17)),
    ):
        n = 576
        for cut, count, top in zip(SparseVLM(ratios=r).cuts(), kept, best, strict=True):
            assert cut.keep(n) == count
            assert recycled.best(n, count)[0] == top
            n = count


def test_greedy_sets_are_nearly_the_best_sets() -> None:
    """On tiny sets, against all of that size: never above the best, and within the bound of greedy coverage."""
    for seed in range(8):
        tokens = tokens_of([9])
        features = torch.randn(1, 14, 6, generator=torch.Generator().manual_seed(seed)).double()
        table = formulas.cosines(features[0, 2:11], features[0, 2:11])

        def covered(chosen: tuple[int, ...], table: Tensor = table) -> float:
            return float(table[:, list(chosen)].amax(1).clamp(min=0).sum())

        kept = Coverage(0.0)(Shown(torch.ones(1, 14), features), tokens, (3,)).keep[0, 2:11].nonzero()[:, 0].tolist()
        best = max(map(covered, combinations(range(9), 3)))
        assert (1 - 2.718281828**-1) * best <= covered(tuple(kept)) <= best


def test_relevance_and_raters_are_those_of_the_formula() -> None:
    tokens = tokens_of([12, 7, 0])
    features = torch.randn(*tokens.columns.shape, 10, generator=torch.Generator().manual_seed(0)).double()
    weights = Raters()(features, tokens)
    for negated in (False, True):
        scores = LikeText(negated)(features, tokens)
        for sample in (0, 1):
            own, said = tokens.image.mask[sample], tokens.instruction.mask[sample]
            image, text = features[sample][own], features[sample][said]
            torch.testing.assert_close(scores[sample][own], formulas.relevance(image, text, negated))
            chosen = formulas.raters(image, text)
            assert weights[sample][said].tolist() == pytest.approx(
                [1 / len(chosen) if token in chosen else 0 for token in range(3)]
            )
        assert not scores[2].any()
    assert not weights[2].any()
    assert torch.equal(Length()(features, tokens), features.abs().sum(2))


def test_equal_tokens_tie_and_the_first_is_chosen() -> None:
    tokens = tokens_of([9])
    features = torch.zeros(1, 14, 3)
    features[0, 2:11] = torch.nn.functional.one_hot(torch.tensor([0, 1, 1, 2, 0, 2, 2, 1, 0])).float() * 3.7
    for select in (Dpp(), Coverage(0.0)):
        for count, kept in ((3, [0, 1, 3]), (5, [0, 1, 2, 3, 4])):
            shown = Shown(torch.ones(1, 14), features)
            assert select(shown, tokens, (count,)).keep[0, 2:11].nonzero()[:, 0].tolist() == kept


@pytest.mark.parametrize("select", SELECTS, ids=str)
def test_a_choice_reads_nothing_from_the_device(select: Select) -> None:
    """On tensors without data every read fails."""
    tokens = tokens_of([20, 9]).to(torch.device("meta"))
    shown = Shown(torch.rand(2, 25, device="meta"), torch.randn(2, 25, 16, device="meta"))
    assert select(shown, tokens, (5, 3)).keep.shape == (2, 25)
    assert shown.features is not None
    for score in (LikeText(), Length(), Raters()):
        assert score(shown.features, tokens).shape == (2, 25)
