"""The prompts of a suite in two parts, each of every task and kind: what is searched on, and what is validated on."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from visionflow.errors import VisionFlowError
from visionflow.evaluation.samples import Sample, Suite

Kind = tuple[str, str]
"""A task, and a kind of question within it."""


def two_parts(
    suite: Suite, searched: int, validated: int, tasks: Sequence[str] = ()
) -> tuple[list[Sample], list[Sample]]:
    """So many prompts to search on, and so many others, task by task; of fewer, in the same proportion.

    Each part has every kind of question of every task once, as far as that goes, and then as many of one task as of the
    other, and of a task as many of one kind as of the other. The same prompts each time.

    Raises:
        VisionFlowError: there is no such task, too few prompts for two parts, or a sample of a file is not sound.
    """
    stock = _stock(suite, searched + validated, tasks)
    there = sum(map(len, stock.values()))
    if there < 2:
        raise VisionFlowError(f"{there} prompts are too few to be searched on and validated on others: give more")
    wanted = min(there, searched + validated)
    mine = max(1, min(wanted - 1, round(wanted * searched / (searched + validated))))
    parts = _Part(mine), _Part(wanted - mine)
    for _ in range(max(part.room for part in parts)):
        for part in parts:
            if part.room:
                part.take(stock)
    first, second = ([suite.sample(*place) for place in part.in_order(suite)] for part in parts)
    return first, second


@dataclass
class _Part:
    """What one part has so far, and how many more it is to have."""

    room: int
    numbers: list[tuple[str, int]] = field(default_factory=list)
    had: Counter[Kind | str] = field(default_factory=Counter)

    def take(self, stock: dict[Kind, list[int]]) -> None:
        """One more: of a kind that is missing, or of the task and then of the kind of which the fewest are here."""
        left = (kind for kind, numbers in stock.items() if numbers)
        task, name = min(left, key=lambda kind: (self.had[kind] > 0, self.had[kind[0]], self.had[kind]))
        self.numbers.append((task, stock[task, name].pop()))
        self.had.update([task, (task, name)])
        self.room -= 1

    def in_order(self, suite: Suite) -> list[tuple[str, int]]:
        """Task by task, as batches are made."""
        return [place for task in suite.tasks for place in self.numbers if place[0] == task]


def _stock(suite: Suite, wanted: int, tasks: Sequence[str]) -> dict[Kind, list[int]]:
    """The numbers of the samples of each kind, in an order by lot: neighbours may be alike, or differ by turns."""
    stock: dict[Kind, list[int]] = {}
    for task in suite.chosen(tasks):
        for number in range(suite.counts.get(task, wanted)):
            stock.setdefault((task, suite.kind(task, number)), []).append(number)
    return {kind: sorted(numbers, key=lambda number: _lot(kind, number)) for kind, numbers in stock.items()}


def _lot(kind: Kind, number: int) -> bytes:
    """The same on every machine."""
    return hashlib.sha256(f"{kind} {number}".encode()).digest()
