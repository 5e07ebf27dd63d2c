"""Intervals and paired tests against published and hand-worked figures, and what must hold of any answers."""

import sys
from collections.abc import Sequence
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

import visionflow.bootstrap
from visionflow.errors import VisionFlowError
from visionflow.evaluation import Interval, McNemar, bootstrap_difference, bootstrap_mean, mcnemar, wilson

scores = st.lists(st.integers(0, 10), min_size=1, max_size=60)
pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200)
few_draws = settings(max_examples=25, deadline=None)


def answers(both: int, lost: int, gained: int, neither: int) -> tuple[list[int], list[int]]:
    """Right answers of a method and of its reference with these counts."""
    method = [1] * both + [0] * lost + [1] * gained + [0] * neither
    reference = [1] * both + [1] * lost + [0] * gained + [0] * neither
    return method, reference


# R. G. Newcombe, Statistics in Medicine 17, 1998, table I, method 3; and 8 of 10 by hand: with z = 1.96, z^2 = 3.8416,
# (0.8 + 0.19208 +- 1.96 sqrt(0.016 + 0.009604)) / 1.38416 = (0.99208 +- 0.31362) / 1.38416.
@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_of_known_figures(right: int, total: int, low: float, high: float) -> None:
    interval = wilson(right, total)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 20_000), st.data())
def test_wilson_holds_the_proportion(total: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, total))
    interval = wilson(right, total)
    assert interval is not None
    assert 0 <= interval.low <= right / total <= interval.high <= 1


def test_no_proportion_no_interval() -> None:
    assert wilson(0, 0) is None
    for right, total in ((3, 2), (-1, 2), (0, -1)):
        with pytest.raises(VisionFlowError, match="not a proportion"):
            wilson(right, total)


@few_draws
@given(scores, st.integers(0, 2**32))
def test_the_bootstrap_interval_holds_the_mean_and_repeats(values: Sequence[int], seed: int) -> None:
    interval = bootstrap_mean(values, seed)
    assert interval is not None
    assert min(values) <= interval.low <= np.mean(values) <= interval.high <= max(values)
    assert bootstrap_mean(values, seed) == interval


def test_the_bootstrap_interval_of_two_values_by_hand() -> None:
    """Samples of (0, 1) are 0, 1/2 or 1 with chances 1/4, 1/2, 1/4: both tails are longer than 2.5 %."""
    assert bootstrap_mean([0, 1]) == Interval(0.0, 1.0)


def test_the_bootstrap_agrees_with_scipy() -> None:
    values = np.random.default_rng(5).exponential(size=400)
    ours = bootstrap_mean(values, seed=1)
    theirs = bootstrap((values,), np.mean, method="percentile", n_resamples=10_000, rng=2).confidence_interval
    assert ours is not None
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)  # both are drawn


def test_drawing_in_blocks_changes_no_more_than_the_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(50) % 2
    whole = bootstrap_mean(values)
    monkeypatch.setattr(visionflow.bootstrap, "_NUMBERS_AT_ONCE", 50 * 333)
    blocks = bootstrap_mean(values)
    assert whole is not None
    assert blocks is not None
    assert (blocks.low, blocks.high) == pytest.approx((whole.low, whole.high), abs=0.03)


@few_draws
@given(scores, st.data())
def test_the_paired_interval_holds_the_difference(reference: list[int], data: st.DataObject) -> None:
    method = data.draw(st.lists(st.integers(0, 10), min_size=len(reference), max_size=len(reference)))
    interval = bootstrap_difference(method, reference)
    assert interval is not None
    assert interval.low <= np.mean(method) - np.mean(reference) + 1e-12
    assert interval.high >= np.mean(method) - np.mean(reference) - 1e-12


def test_pairing_sees_what_two_intervals_hide() -> None:
    """A point lost on every fifth question, on scores that differ much more from question to question."""
    reference = np.random.default_rng(0).normal(size=500) * 10
    method = reference - (np.arange(500) % 5 == 0)
    paired, alone = bootstrap_difference(method, reference), bootstrap_mean(reference)
    assert paired is not None
    assert alone is not None
    assert paired.high < 0
    assert paired.high - paired.low < (alone.high - alone.low) / 10


@given(pairs)
def test_equal_answers_differ_by_nothing(rows: list[tuple[bool, bool]]) -> None:
    same = [right for right, _ in rows]
    assert bootstrap_difference(same, same) == Interval(0.0, 0.0)
    assert mcnemar(same, same) == McNemar(0, 0, 1.0)


def test_mcnemar_of_the_sputum_cultures() -> None:
    """Armitage and Berry 1994, p. 127: of 50 specimens 20 grow on both media, 12 and 2 on one; P = 0.0129.

    By hand: 2 (C(14, 0) + C(14, 1) + C(14, 2)) / 2^14 = 2 (1 + 14 + 91) / 16384 = 212 / 16384.
    """
    result = mcnemar(*answers(both=20, lost=12, gained=2, neither=16))
    assert (result.lost, result.gained) == (12, 2)
    assert result.p_value == pytest.approx(212 / 16384)
    assert result.p_value == pytest.approx(0.0129, abs=5e-5)


def test_mcnemar_by_hand() -> None:
    """Five lost, one gained: 2 (1 + 6) / 64."""
    assert mcnemar(*answers(3, 5, 1, 2)).p_value == pytest.approx(14 / 64)


@given(pairs)
def test_mcnemar_is_the_binomial_sum_and_symmetric(rows: list[tuple[bool, bool]]) -> None:
    method, reference = zip(*rows, strict=True)
    one, other = mcnemar(method, reference), mcnemar(reference, method)
    lost, gained = sum(b and not a for a, b in rows), sum(a and not b for a, b in rows)
    assert (one.lost, one.gained) == (other.gained, other.lost) == (lost, gained)
    tail = sum(comb(lost + gained, i) for i in range(min(lost, gained) + 1))
    assert one.p_value == pytest.approx(min(1.0, 2 * tail / 2 ** (lost + gained)))
    assert other.p_value == pytest.approx(one.p_value)


def test_nothing_compared_with_nothing() -> None:
    assert bootstrap_mean([]) is None
    assert bootstrap_difference([], []) is None
    assert mcnemar([], []) == McNemar(0, 0, 1.0)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(VisionFlowError, match="2 and 1 answers cannot be paired"):
        mcnemar([1, 0], [1])
    with pytest.raises(VisionFlowError, match="2 and 1 answers cannot be paired"):
        bootstrap_difference([1, 0], [1])
    with pytest.raises(VisionFlowError, match="right and wrong"):
        mcnemar([0.5], [1])
    for values in ([float("nan")], [[1.0]]):
        with pytest.raises(VisionFlowError, match="one finite number per question"):
            bootstrap_mean(values)


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(VisionFlowError, match=r"pip install 'visionflow\[eval\]'"):
        mcnemar([1], [0])
    with pytest.raises(VisionFlowError, match=r"pip install 'visionflow\[eval\]'"):
        wilson(1, 2)
