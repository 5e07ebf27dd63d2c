"""Runs in turns, and the arithmetic of their times."""

import pytest

from visionflow.bench.rounds import Ratio, Summary, TimeLimit, in_turns, ratio_of_medians


def test_every_round_runs_all_and_starts_with_the_next() -> None:
    assert list(in_turns(["a", "b", "c"], 4)) == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


def test_median_and_quartiles() -> None:
    summary = Summary.of([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (summary.median, summary.q1, summary.q3) == (3, 2, 4)
    assert summary.values == [5, 1, 2, 4, 3]


def test_the_ratio_is_that_of_the_medians() -> None:
    ratio = ratio_of_medians([4.0, 100.0, 6.0], [1.0, 2.0, 3.0])
    assert ratio.value == 3
    assert (ratio.low, ratio.high) == (2, 50)  # of whole rounds
    assert ratio == ratio_of_medians([4.0, 100.0, 6.0], [1.0, 2.0, 3.0])


def test_what_slows_a_whole_round_widens_no_interval() -> None:
    busy = [1.0, 30.0, 2.0, 900.0, 5.0]
    assert ratio_of_medians([2 * slow for slow in busy], busy) == Ratio(2, 2, 2)


def width(ratio: Ratio) -> float:
    assert ratio.low is not None
    assert ratio.high is not None
    return ratio.high - ratio.low


def test_an_interval_knows_the_spread() -> None:
    steady = ratio_of_medians([2.0, 2.01, 1.99, 2.0, 2.0], [1.0] * 5)
    wild = ratio_of_medians([1.0, 3.0, 2.0, 4.0, 0.5], [1.0] * 5)
    assert width(steady) < 0.05 < 1 < width(wild)


def test_one_round_has_no_interval() -> None:
    assert ratio_of_medians([4.0], [2.0]) == Ratio(2, None, None)


def test_a_ratio_over_a_number() -> None:
    assert Ratio(3, 2, 4).over(2) == Ratio(1.5, 1, 2)
    assert Ratio(3, None, None).over(2) == Ratio(1.5, None, None)


def test_the_limit_counts_from_its_start() -> None:
    now = [100.0]
    limit = TimeLimit(10, lambda: now[0])
    now[0] = 104
    assert limit.left == 6
    assert limit.lap() == 4
    now[0] = 111
    assert limit.left == -1
    assert limit.lap() == pytest.approx(7)
