"""What a caption names, each thing as often as it does, beside what is there."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from visionflow.evaluation.words import words
from visionflow.scenes.world import COLOURS, SHAPES

_NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}


@dataclass(frozen=True)
class Naming:
    """The objects that a caption names against those that are there, as multisets.

    Attributes:
        common: named and there, each as often as it is both.
        named: all that the caption names, repeats counted.
        there: all that is there.
    """

    common: int
    named: int
    there: int

    @property
    def every(self) -> bool:
        """Each object is named at least as often as it is there, whatever else is: a recall of 1."""
        return self.common == self.there

    @property
    def exact(self) -> bool:
        """Each object is named as often as it is there, and nothing else."""
        return self.common == self.there == self.named

    @property
    def f1(self) -> float:
        """``2 P R / (P + R)`` of precision common / named and recall common / there; 0 where nothing is common."""
        return 2 * self.common / (self.named + self.there) if self.common else 0.0


def naming(caption: str, objects: Iterable[str]) -> Naming:
    """What `caption` names of the `objects` (``red circle``), and besides of what the generated world knows.

    A number before the plural counts (``two red circles``, ``2 red circles``), one before the singular only numbers the
    lines of a list.
    """
    said = " ".join(words(caption))
    there = Counter(" ".join(words(name)) for name in objects)
    named = Counter({name: _mentions(said, name) for name in {*there, *_world()}})
    return Naming((named & there).total(), named.total(), there.total())


@cache
def _world() -> frozenset[str]:
    """Every object that there can be, as captions call it."""
    return frozenset(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)


def _mentions(said: str, name: str) -> int:
    if name not in said:
        return 0
    found = re.finditer(rf"\b(?:(\w+) )?{re.escape(name)}(e?s)?\b", said)
    return sum(_number(match[1]) if match[2] else 1 for match in found)


def _number(word: str | None) -> int:
    """1 of what is no number."""
    if word is not None and word.isdecimal():
        return int(word)
    return _NUMBERS.get(word or "", 1)
