"""Numbers as tables show them: in a unit that suits them, shares in per cent, runs of layers."""

from collections.abc import Sequence
from itertools import groupby
from typing import TypeVar

Counts = TypeVar("Counts")

Units = Sequence[tuple[float, str]]
"""The size and name of each, the largest first."""

SI: Units = ((1e12, "T"), (1e9, "G"), (1e6, "M"))
BYTES: Units = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"))
SECONDS: Units = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))


NOT_MODELLED = "not modelled"
"""What stands in place of a cost that nobody knows."""


def unit_for(value: float, units: Units) -> tuple[float, str]:
    """The largest unit that `value` has one of, or else the smallest."""
    return next((each for each in units if value >= each[0]), units[-1])


def amount(value: float, units: Units, form: str) -> str:
    """`value` in the unit that suits it: ``8.45 T``."""
    size, unit = unit_for(value, units)
    return f"{value / size:{form}} {unit}"


def percent(share: float | None, decimals: int = 1) -> str:
    """``12.5%``; a dash where nothing is known."""
    return "-" if share is None else f"{share:.{decimals}%}"


def bracketed(low: float, high: float, form: str) -> str:
    """``[0.49, 0.94]``."""
    return f"[{low:{form}}, {high:{form}}]"


def layer_runs(counts: Sequence[Counts]) -> list[tuple[str, Counts]]:
    """Runs of layers with the same count, or the same counts: ``("0-1", 144), ("2", 72)``."""
    runs, first = [], 0
    for count, layers in groupby(counts):
        last = first + len(list(layers)) - 1
        runs.append((f"{first}" if first == last else f"{first}-{last}", count))
        first = last + 1
    return runs
