"""Choices are what their definitions say, in any company, and read nothing from the device."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import max_min
from visionflow.core import AwayFromMean, MaxMin, Select, Shown, Spaced, Tokens, find_tokens
from visionflow.core.cutting import merged
from visionflow.core.trace import Stage

IMAGE = 9


def tokens_of(*images: int) -> Tokens:
    """Samples of so many image tokens between text, padded on the left."""
    width = max(images) + 3
    ids = torch.zeros(len(images), width, dtype=torch.long)
    for sample, n in enumerate(images):
        ids[sample, width - n - 3 :] = torch.tensor([1, *[IMAGE] * n, 2, 3])
    return find_tokens(ids, (ids > 0).long(), IMAGE)


@given(st.integers(1, 700), st.data())
def test_spaced_tokens_are_the_middles_of_equal_stretches(n: int, data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, n))
    tokens = tokens_of(n, 5)
    keep = Spaced()(Shown(), tokens, (kept, 5)).keep
    assert keep[0][tokens.image.mask[0]].nonzero()[:, 0].tolist() == [
        (2 * i + 1) * n // (2 * kept) for i in range(kept)
    ]
    assert torch.equal(keep[1], tokens.image.mask[1])
    assert keep[0].sum() == kept


@pytest.mark.parametrize("counts", [(12, 3, 0, 7), (1, 1, 0, 1), (20, 9, 0, 30)])
def test_max_min_in_a_batch_is_that_of_each_sample(counts: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    images = (20, 9, 0, 30)
    tokens = tokens_of(*images)
    features = torch.randn(4, tokens.columns.shape[1], 16)
    keep = MaxMin()(Shown(features=features), tokens, counts).keep
    for sample, count in enumerate(counts):
        own = tokens.image.mask[sample]
        assert keep[sample].sum() == count
        assert not keep[sample][~own].any()
        if count:
            assert keep[sample][own].nonzero()[:, 0].tolist() == max_min(features[sample][own], count)


def test_ties_go_to_the_first() -> None:
    """Of equal tokens, and of all when each is like one that is chosen."""
    tokens = tokens_of(9)
    unlike = torch.nn.functional.one_hot(torch.tensor([0, 1, 1, 2, 0, 2, 2, 1, 0])).float() * 3.7
    features = torch.zeros(1, 12, 3)
    features[0, 1:10] = unlike
    kept = [MaxMin()(Shown(features=features), tokens, (n,)).keep[0, 1:10].nonzero()[:, 0].tolist() for n in (3, 5)]
    assert kept == [[0, 1, 3], [0, 1, 2, 3, 4]]


@pytest.mark.parametrize("select", [MaxMin(), Spaced()], ids=str)
def test_a_choice_reads_nothing_from_the_device(select: Select) -> None:
    """On tensors without data every read fails."""
    tokens = tokens_of(20, 9).to(torch.device("meta"))
    shown = Shown(features=torch.randn(2, 23, 16, device="meta"))
    assert select(shown, tokens, (5, 3)).keep.shape == (2, 23)
    assert shown.features is not None
    assert AwayFromMean()(shown.features, tokens).shape == (2, 23)


def test_merging_weighs_tokens_by_their_sizes() -> None:
    states = torch.tensor([[[1.0], [2.0], [6.0], [5.0]]])
    into = torch.tensor([[0, 1, 1, 3]])
    means, sizes = merged(states, torch.tensor([[1.0, 1.0, 3.0, 2.0]]), into)
    assert means[0, [0, 1, 3], 0].tolist() == [1.0, 5.0, 5.0]
    assert sizes[0, [0, 1, 3]].tolist() == [1.0, 4.0, 2.0]
    tokens = find_tokens(torch.tensor([[1, IMAGE, IMAGE, 2]]), None, IMAGE, past=10)
    assert [moves.tolist() for moves in Stage(0, tokens, tokens, (tokens, into)).merged or []] == [[[12], [11]]]
    assert Stage(0, tokens, tokens).merged is None


def test_merging_leaves_the_bits_of_others() -> None:
    states = torch.randn(1, 3, 8).bfloat16()
    means, _ = merged(states, torch.ones(1, 3), torch.tensor([[0, 1, 1]]))
    assert torch.equal(means[0, 0], states[0, 0])
    assert means.dtype == torch.bfloat16
