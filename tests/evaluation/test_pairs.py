"""Comparisons of many rows: corrected p-values, tests of random signs, and which pairs there are."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test

from visionflow.evaluation.intervals import bootstrap_difference, holm, mcnemar, sign_flips
from visionflow.evaluation.pairs import pairs
from visionflow.evaluation.summary import YES_OR_NO


def test_holm_by_hand() -> None:
    """S. Holm's example of four tests at 0.01, 0.04, 0.03 and 0.005: 4 x 0.005, 3 x 0.01, 2 x 0.03, and that again."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.6, 0.7]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_holm_is_between_the_plain_p_and_bonferroni(p_values: list[float]) -> None:
    corrected = holm(p_values)
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(corrected)[order]) >= 0)
    assert all(p <= q <= min(1.0, len(p_values) * p) + 1e-12 for p, q in zip(p_values, corrected, strict=True))


@settings(deadline=None, max_examples=10)
@given(st.lists(st.integers(-4, 4), min_size=2, max_size=9))
def test_random_signs_are_those_of_all_signs(differences: list[int]) -> None:
    """Few questions have so few signs that the test goes through all of them."""
    given = np.array(differences, dtype=float)
    if not given.any():
        assert sign_flips(given, 0 * given) == 1.0
        return
    means = np.array([abs((given * signs).mean()) for signs in product((-1, 1), repeat=len(given))])
    assert sign_flips(given, 0 * given) == pytest.approx((means >= abs(given.mean()) - 1e-12).mean())


def test_drawn_signs_agree_with_scipy() -> None:
    for shift in (0.0, 0.1, -0.2):
        given = np.random.default_rng(1).normal(size=60) + shift
        theirs = permutation_test((given,), np.mean, permutation_type="samples", n_resamples=9_999, rng=2).pvalue
        assert sign_flips(given, 0 * given) == pytest.approx(theirs, abs=0.02)  # both are drawn


def test_pairs_are_each_there_once_and_corrected_together() -> None:
    rng = np.random.default_rng(0)
    scores = {
        name: {"exact": (rng.random(40) < share).astype(float), "f1": rng.random(40) * share, "cider": rng.random(40)}
        for name, share in (("dense", 0.9), ("random", 0.3), ("good", 0.85), ("bad", 0.4))
    }
    found = pairs(scores, ["dense", "random", "absent"], YES_OR_NO)  # type: ignore[arg-type]
    for metric in ("exact", "f1"):
        several = [pair for pair in found if pair.metric == metric]
        assert [(pair.row, pair.against) for pair in several] == [
            ("random", "dense"), ("good", "dense"), ("bad", "dense"), ("good", "random"), ("bad", "random"),
        ]  # fmt: skip
        assert [pair.p_holm for pair in several] == holm([pair.p_value for pair in several])
        for pair in several:
            ours, theirs = scores[pair.row][metric], scores[pair.against][metric]
            assert pair.difference == pytest.approx(ours.mean() - theirs.mean())
            assert pair.interval == bootstrap_difference(ours, theirs, confidence=0.99)
            plain = bootstrap_difference(ours, theirs)
            assert plain is not None
            assert pair.interval is not None
            assert pair.interval.low <= plain.low <= plain.high <= pair.interval.high
            if metric == "exact":
                assert pair.p_value == mcnemar(ours, theirs).p_value
    assert {pair.metric for pair in found} == {"exact", "f1"}
    assert pairs(scores, [], YES_OR_NO) == []  # type: ignore[arg-type]
