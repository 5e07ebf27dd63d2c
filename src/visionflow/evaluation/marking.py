"""Whether an answer is right, by the form that its task wants."""

import re
from collections import Counter

from visionflow.evaluation.answers import matches, yes_no
from visionflow.evaluation.letters import option_letter
from visionflow.evaluation.samples import Sample
from visionflow.evaluation.words import words

_NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}


def is_right(sample: Sample, answer: str) -> bool:
    """Whether `answer` is the right one; of a caption, whether it names every object.

    Letters are read by `option_letter`, yes and no under the strict convention, short answers by `matches`.
    """
    if sample.form == "letter":
        return option_letter(answer, sample.options) == sample.gold[0]
    if sample.form == "yes_no":
        return yes_no(answer) == (sample.gold[0] == "yes")
    if sample.form == "caption":
        return names_every(answer, sample.objects)
    return matches(answer, sample.gold)


def names_every(caption: str, objects: tuple[str, ...]) -> bool:
    """Whether a caption names all `objects` (``red circle``), each as often as it is there.

    A number before the plural counts (``two red circles``, ``2 red circles``), one before the singular only numbers the
    lines of a list. What is named beyond that is not held against the caption.
    """
    said = " ".join(words(caption))
    return all(_mentions(said, " ".join(words(name))) >= wanted for name, wanted in Counter(objects).items())


def _mentions(said: str, name: str) -> int:
    found = re.finditer(rf"\b(?:(\w+) )?{re.escape(name)}(e?s)?\b", said)
    return sum(_number(match[1]) if match[2] else 1 for match in found)


def _number(word: str | None) -> int:
    """1 of what is no number."""
    if word is not None and word.isdecimal():
        return int(word)
    return _NUMBERS.get(word or "", 1)
