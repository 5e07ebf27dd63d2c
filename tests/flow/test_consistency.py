"""Consistency, E and D on numbers worked by hand, and what must hold for all others."""

from math import isclose, log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from visionflow.errors import VisionFlowError
from visionflow.flow.consistency import (
    LogRatio,
    bias,
    consistency,
    jaccard,
    log_of_biases,
    log_ratio,
    same_label,
    top_tokens,
)

CLOSE = 1e-12  # means of the same numbers in another order
top_five = st.lists(st.integers(0, 12), min_size=5, max_size=5, unique=True)
scores = st.lists(st.sampled_from([0.0, 1 / 9, 1 / 4, 3 / 7, 2 / 3, 1.0]), min_size=1, max_size=30)
paired_scores = st.integers(1, 30).flatmap(
    lambda n: st.tuples(*[st.lists(st.sampled_from([0.0, 1 / 4, 2 / 3, 1.0]), min_size=n, max_size=n)] * 2)
)


def rows(*samples: list[int]) -> Tensor:
    return torch.tensor(samples)


def test_top_tokens_are_best_first_and_begin_with_the_greedy_one() -> None:
    logits = torch.tensor([[0.0, 5.0, 3.0, 5.0, 1.0, 2.0], [9.0, 8.0, 7.0, 6.0, 5.0, 4.0]])
    assert top_tokens(logits).tolist() == [[1, 3, 2, 5, 4], [0, 1, 2, 3, 4]]
    many_equal = torch.zeros(3, 500, dtype=torch.bfloat16)
    many_equal[1, 400] = 1
    assert torch.equal(top_tokens(many_equal)[:, 0], many_equal.argmax(-1))
    assert top_tokens(many_equal)[0].tolist() == [0, 1, 2, 3, 4]


def test_jaccard_by_hand() -> None:
    clean = rows([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    other = rows([5, 4, 3, 2, 1], [1, 2, 3, 4, 9], [1, 7, 3, 8, 9], [6, 7, 8, 9, 0])
    expected = torch.tensor([1.0, 4 / 6, 2 / 8, 0.0], dtype=torch.float64)
    torch.testing.assert_close(jaccard(clean, other), expected)


def test_label_by_hand() -> None:
    clean, other = rows([1, 2], [3, 4], [5, 6]), rows([1, 9], [4, 3], [5, 6])
    assert same_label(clean, other).tolist() == [True, False, True]
    assert isclose(consistency(same_label(clean, other)).value, 2 / 3)


@settings(deadline=None)
@given(top_five, top_five)
def test_jaccard_is_a_symmetric_share_of_sets(first: list[int], second: list[int]) -> None:
    value = jaccard(rows(first), rows(second)).item()
    assert isclose(value, len({*first} & {*second}) / len({*first, *second}))
    assert value == jaccard(rows(second), rows(first)).item()
    assert (value == 1) == ({*first} == {*second})
    assert 0 <= value <= 1


def test_error_and_ratio_by_hand() -> None:
    intra_visual, visual_textual = [1.0, 0.5, 0.0, 0.5], [1.0, 0.75, 0.75, 0.5]
    assert bias(intra_visual).value == 0.5
    assert bias(visual_textual).value == 0.25
    found = log_ratio(intra_visual, visual_textual)
    assert found.value is not None
    assert isclose(found.value, log(2))


def test_a_flow_that_changes_nothing_leaves_the_ratio_undefined() -> None:
    nothing = LogRatio(None, None, None, 1.0)
    assert log_ratio([1.0, 1.0], [0.5, 0.0]) == nothing
    assert log_ratio([0.5, 0.0], [1.0, 1.0]) == nothing
    assert log_ratio([1.0, 1.0], [1.0, 1.0]) == nothing


def test_resamples_without_a_ratio_are_counted() -> None:
    """The one changed sample of four is missing from (3/4)^4 of the resamples, by either disruption at once."""
    found = log_ratio([0.5, 1.0, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0])
    assert found.value is not None
    assert isclose(found.value, log(0.5))
    assert abs(found.undefined_share - 0.75**4) < 0.02
    # Resampled together, both means hold the one sample equally often: the ratio does not vary at all.
    assert found.low is not None
    assert found.high is not None
    assert isclose(found.low, log(0.5), abs_tol=CLOSE)
    assert isclose(found.high, log(0.5), abs_tol=CLOSE)


@settings(deadline=None)
@given(st.floats(-1, 1), st.floats(-1, 1))
def test_log_ratio_is_undefined_exactly_where_an_error_is_not_positive(vv: float, vt: float) -> None:
    found = log_of_biases(vv, vt)
    assert (found is None) == (vv <= 0 or vt <= 0)
    if found is not None:
        assert log_of_biases(vt, vv) == -found
        assert found > 0 or vv <= vt * 1.001


@settings(deadline=None, max_examples=30)
@given(paired_scores)
def test_swapping_the_flows_negates_the_ratio(pair: tuple[list[float], list[float]]) -> None:
    one, other = log_ratio(*pair), log_ratio(*pair[::-1])
    assert one.undefined_share == other.undefined_share
    assert (one.value is None) == any(all(score == 1 for score in flow) for flow in pair)
    if one.value is None:
        assert (one.low, one.high, other) == (None, None, one)
    else:
        assert other.value is not None
        assert other.low is not None
        assert other.high is not None
        assert one.low is not None
        assert one.high is not None
        assert isclose(one.value, -other.value, abs_tol=CLOSE)
        assert isclose(one.low, -other.high, abs_tol=CLOSE)
        assert isclose(one.high, -other.low, abs_tol=CLOSE)


@settings(deadline=None, max_examples=30)
@given(scores, st.integers(0, 2**32))
def test_the_interval_contains_the_mean_and_lies_between_the_scores(values: list[float], seed: int) -> None:
    found = consistency(values, seed)
    assert isclose(found.value, sum(values) / len(values), abs_tol=CLOSE)
    assert min(values) - CLOSE <= found.low <= found.value + CLOSE
    assert found.value - CLOSE <= found.high <= max(values) + CLOSE
    lost = bias(values, seed)
    for one, other in [(lost.value, found.value), (lost.low, found.high), (lost.high, found.low)]:
        assert isclose(one, 1 - other, abs_tol=CLOSE)


def test_the_interval_is_that_of_scipy() -> None:
    from scipy.stats import bootstrap

    values = np.random.default_rng(0).choice([0.25, 3 / 7, 2 / 3, 1.0], size=80)
    found = consistency(values)
    expected = bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", rng=1).confidence_interval
    assert abs(found.low - expected.low) < 0.005
    assert abs(found.high - expected.high) < 0.005


def test_intervals_of_the_ratio_are_joint() -> None:
    """Against the definition: both disruptions see the same resample."""
    from scipy.stats import bootstrap

    rng = np.random.default_rng(0)
    easy = rng.choice([0.25, 1.0], size=60)
    pair = easy, np.clip(easy + rng.choice([0.0, 0.3], size=60), 0, 1)
    found = log_ratio(*pair)
    expected = bootstrap(
        pair, lambda vv, vt, axis: np.log((1 - vv).mean(axis) / (1 - vt).mean(axis)),
        n_resamples=10_000, method="percentile", paired=True, vectorized=True, rng=1,
    ).confidence_interval  # fmt: skip
    assert found.low is not None
    assert found.high is not None
    assert found.undefined_share == 0
    assert abs(found.low - expected.low) < 0.02
    assert abs(found.high - expected.high) < 0.02


@pytest.mark.slow
def test_the_same_seed_gives_the_same_interval_however_many_samples() -> None:
    values = np.linspace(0, 1, 3000)  # more than fit into one piece of resamples
    assert consistency(values, 1) == consistency(values, 1) != consistency(values, 2)


@pytest.mark.parametrize("wrong", [[], [[0.5]], [1.5], [-0.1], [float("nan")]])
def test_what_is_no_score_per_sample_is_refused(wrong: list[float]) -> None:
    for function in (consistency, bias, lambda values: log_ratio(values, values)):
        with pytest.raises(VisionFlowError, match="per sample"):
            function(wrong)


def test_runs_of_other_samples_are_refused() -> None:
    with pytest.raises(VisionFlowError, match="2 and 1 samples cannot be paired"):
        log_ratio([0.5, 0.5], [0.5])
    with pytest.raises(VisionFlowError, match="same samples"):
        jaccard(rows([1, 2]), rows([1, 2], [3, 4]))
