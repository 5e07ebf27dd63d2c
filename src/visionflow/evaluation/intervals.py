"""How sure a figure is: 95 % intervals of one method, and paired comparisons of two on the same questions."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from visionflow.bootstrap import CONFIDENCE, bounds, resampled_means
from visionflow.errors import VisionFlowError

_FLIPS = 9_999  # of signs, drawn


@dataclass(frozen=True)
class Interval:
    """The bounds of an interval, in the unit of what was estimated."""

    low: float
    high: float


@dataclass(frozen=True)
class McNemar:
    """A paired comparison of right and wrong answers.

    Attributes:
        lost: questions that the reference answers rightly and the method wrongly.
        gained: the reverse.
        p_value: how likely a split at least as uneven is, were each of these questions as likely to go either way.
    """

    lost: int
    gained: int
    p_value: float


def wilson(right: int, total: int) -> Interval | None:
    """Wilson's score interval of a proportion; None of nothing.

    Unlike p +- 1.96 sqrt(p (1 - p) / n) it stays within 0 and 1 and has a width when all answers are right
    (E. B. Wilson, Journal of the American Statistical Association 22, 1927).

    Raises:
        VisionFlowError: scipy is missing, more are right than there are, or fewer than none.
    """
    if not 0 <= right <= total:
        raise VisionFlowError(f"{right} of {total} is not a proportion: right must lie between 0 and total")
    if total == 0:
        return None
    interval = _binomial_test(right, total).proportion_ci(CONFIDENCE, "wilson")
    return Interval(float(interval.low), float(interval.high))


def bootstrap_mean(values: ArrayLike, seed: int = 0, confidence: float = CONFIDENCE) -> Interval | None:
    """Percentile bootstrap interval of the mean of `values` [n]; None of nothing. See `visionflow.bootstrap`.

    Raises:
        VisionFlowError: a value is not a finite number.
    """
    return bootstrap_means(_numbers(values)[None], seed, confidence)[0]


def bootstrap_means(rows: NDArray[np.float64], seed: int = 0, confidence: float = CONFIDENCE) -> list[Interval | None]:
    """The same of each of several rows [rows, n] of finite numbers: of all from the same draws, made once."""
    if not rows.size:
        return [None] * len(rows)
    return [Interval(*bounds(means, confidence)) for means in resampled_means(rows, seed)]


def bootstrap_difference(
    method: ArrayLike, reference: ArrayLike, seed: int = 0, confidence: float = CONFIDENCE
) -> Interval | None:
    """Percentile bootstrap interval of mean(method) - mean(reference) over the same questions; None of nothing.

    Both are [n], question by question. Pairs are drawn, which is to draw the differences: `bootstrap_mean` of
    ``method - reference``. Questions are hard or easy for both, so it is far narrower than two intervals apart.

    Raises:
        VisionFlowError: a value is not a finite number, or the two differ in length.
    """
    return bootstrap_mean(np.subtract(*_paired(method, reference)), seed, confidence)


def mcnemar(method: ArrayLike, reference: ArrayLike) -> McNemar:
    """McNemar's exact two-sided test of right (1) and wrong (0) answers, both [n], to the same questions.

    Only the b questions lost and c gained tell the two apart; if neither is better, each is a fair coin's throw:
    ``p = min(1, 2 P(X <= min(b, c)))`` with X binomial of b + c throws (Q. McNemar, Psychometrika 12, 1947, with the
    binomial distribution in place of its chi-square approximation). Without any such question p is 1.

    Raises:
        VisionFlowError: scipy is missing, an answer is neither 0 nor 1, or the two differ in length.
    """
    ours, theirs = _paired(method, reference)
    if not np.isin(np.concatenate((ours, theirs)), (0, 1)).all():
        raise VisionFlowError("McNemar's test compares right and wrong answers: give 1 and 0, or bootstrap_difference")
    lost, gained = int((theirs > ours).sum()), int((ours > theirs).sum())
    if lost == gained:
        return McNemar(lost, gained, 1.0)
    return McNemar(lost, gained, float(_binomial_test(lost, lost + gained).pvalue))


def sign_flips(method: ArrayLike, reference: ArrayLike, seed: int = 0) -> float:
    """How likely a mean difference at least as large is, were each question as likely to go the other way; both [n].

    The two-sided permutation test of paired scores that are more or less: over all ways to flip the signs of the
    differences where these are no more than 9,999, else over so many draws and what was seen, as scipy's
    `permutation_test` has it.

    Raises:
        VisionFlowError: a value is not a finite number, or the two differ in length.
    """
    differences = np.subtract(*_paired(method, reference))
    if not differences.any():
        return 1.0
    every = 2 ** len(differences) <= _FLIPS
    signs = _all_signs(len(differences)) if every else _drawn_signs(len(differences), seed)
    flipped, seen = signs @ differences, differences.sum()
    seen_too, alike = 0 if every else 1, 1e-12 * np.abs(differences).sum()
    tails = ((flipped >= seen - alike).sum(), (flipped <= seen + alike).sum())
    return float(min(1.0, 2 * (min(tails) + seen_too) / (len(flipped) + seen_too)))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several comparisons, corrected for their number: one of them below 0.05 is news even so.

    Of m, the i-th smallest is multiplied by m - i (i from 0), and is no smaller than those before it (S. Holm,
    Scandinavian Journal of Statistics 6, 1979).
    """
    corrected, largest = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def _all_signs(count: int) -> NDArray[np.float64]:
    return np.array(list(product((1.0, -1.0), repeat=count)))


def _drawn_signs(count: int, seed: int) -> NDArray[np.float64]:
    ones: NDArray[np.int8] = np.random.default_rng(seed).integers(2, size=(_FLIPS, count), dtype=np.int8)
    return 2 * ones.astype(np.float64) - 1


def _binomial_test(right: int, total: int) -> Any:
    try:
        from scipy.stats import binomtest
    except ImportError as error:
        raise VisionFlowError("statistics of right answers need scipy: pip install 'visionflow[eval]'") from error
    return binomtest(right, total)


def _paired(method: ArrayLike, reference: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ours, theirs = _numbers(method), _numbers(reference)
    if len(ours) != len(theirs):
        raise VisionFlowError(
            f"{len(ours)} and {len(theirs)} answers cannot be paired: compare answers to the same questions"
        )
    return ours, theirs


def _numbers(values: ArrayLike) -> NDArray[np.float64]:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not np.isfinite(numbers).all():
        raise VisionFlowError("scores must be one finite number per question")
    return numbers
