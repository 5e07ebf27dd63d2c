"""Runs taken in turns, so that a busy machine slows all alike, and what their times say."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from visionflow.bootstrap import RESAMPLES, bounds

Run = TypeVar("Run")


def in_turns(runs: Sequence[Run], rounds: int) -> Iterator[list[Run]]:
    """The order of each round: every run once, each round starting with the next one."""
    for number in range(rounds):
        start = number % len(runs)
        yield [*runs[start:], *runs[:start]]


class TimeLimit:
    """Says whether another round would still end in time.

    Args:
        seconds: from now on.
        now: a clock in seconds.
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._end = now() + seconds
        self._last = now()

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return self._end - self._now()

    def lap(self) -> float:
        """Seconds since the last call, or since the start."""
        last, self._last = self._last, self._now()
        return self._last - last


@dataclass(frozen=True)
class Summary:
    """Repeated measurements of one thing.

    Attributes:
        median: of all values.
        q1, q3: the quartiles; half of the values lie between them.
        values: in the order of the rounds.
    """

    median: float
    q1: float
    q3: float
    values: list[float]

    @classmethod
    def of(cls, values: Sequence[float]) -> "Summary":
        """The summary of at least one value."""
        q1, median, q3 = np.quantile(values, [0.25, 0.5, 0.75])
        return cls(float(median), float(q1), float(q3), list(values))


def repeated(summary: Mapping[str, Any]) -> bool:
    """Whether there is more than one value in a `Summary`, as JSON: of one, nobody knows how far it is off."""
    return len(summary["values"]) > 1


@dataclass(frozen=True)
class Ratio:
    """A ratio of two medians and its 95 % interval; one round gives none."""

    value: float
    low: float | None
    high: float | None

    def over(self, divisor: float) -> "Ratio":
        """The ratio and its interval, divided by a number without error."""
        low, high = (None if bound is None else bound / divisor for bound in (self.low, self.high))
        return Ratio(self.value / divisor, low, high)


def ratio_of_medians(above: Sequence[float], below: Sequence[float], seed: int = 0) -> Ratio:
    """The median of `above` over that of `below`, with the percentile bootstrap over rounds.

    Args:
        above, below: times of the same rounds; a resample takes whole rounds, so what slowed both stays together.
        seed: of the resampling.
    """
    both = np.array([above, below], dtype=np.float64)
    value, divisor = np.median(both, axis=1)
    if both.shape[1] == 1:
        return Ratio(float(value / divisor), None, None)
    draws = np.random.default_rng(seed).integers(both.shape[1], size=(RESAMPLES, both.shape[1]))
    medians = np.median(both[:, draws], axis=2)
    low, high = bounds(medians[0] / medians[1])
    return Ratio(float(value / divisor), low, high)
