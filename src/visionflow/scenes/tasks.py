"""The four kinds of task of the HiMAP paper (section 5.1) on this world, with the prompts of its appendix E.

Gold letters, yes and no, samplings and kinds are dealt out by the
number, so that they are balanced whatever the limit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from numpy.random import Generator

from visionflow.scenes import phrases
from visionflow.scenes.captions import references
from visionflow.scenes.existence import SAMPLINGS, existence
from visionflow.scenes.knowledge import knowledge
from visionflow.scenes.questions import (
    OPEN,
    Maker,
    Question,
    ask,
    colour,
    comparison,
    count,
    mark,
    odd_one_out,
    relation,
    shape,
)
from visionflow.scenes.world import FEW, MANY, Scene

T = TypeVar("T")

LETTERS = "ABCD"


@dataclass(frozen=True)
class Item:
    """One item of a task: the question as asked in `prompt`, and what is right.

    `gold` is the right answer (a letter, yes or no, a few words) or, of captions, the five references. `options` are
    those of a multiple choice, in order. `about` are the objects (indices) that the answer rests on, `cells` the places
    besides.
    """

    task: str
    kind: str
    question: str
    prompt: str
    gold: tuple[str, ...]
    options: tuple[str, ...]
    about: tuple[int, ...]
    cells: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Task:
    """How many objects the scenes of a task have, and how item `number` is made of one; None where it cannot be."""

    between: tuple[int, int]
    make: Callable[[Scene, Generator, int], Item | None]


_CHOICE: tuple[Maker, ...] = (count, colour, shape, mark, odd_one_out)
_SCIENCE: tuple[Maker, ...] = (knowledge, relation, colour, knowledge, comparison, count)


def choice(scene: Scene, rng: Generator, number: int, makers: tuple[Maker, ...] = _CHOICE) -> Item | None:
    """A lettered question with four options, like A-OKVQA."""
    question = ask(scene, rng, _dealt(makers, number))
    if question is None:
        return None
    right = (number % len(makers) + number // len(makers)) % 4
    return lettered_item(scene, question, rng, 4, right, "choice", phrases.CHOICE)


def science(scene: Scene, rng: Generator, number: int, makers: tuple[Maker, ...] = _SCIENCE) -> Item | None:
    """A lettered question with two to four options, some of general knowledge, like ScienceQA."""
    question = ask(scene, rng, _dealt(makers, number))
    if question is None:
        return None
    size = min(2 + number // len(makers) % 3, len(question.values))
    right = (number + number // (3 * len(makers))) % size
    return lettered_item(scene, question, rng, size, right, "science", phrases.SCIENCE)


def exists(scene: Scene, rng: Generator, number: int) -> Item | None:
    """A yes/no question about existence, like POPE: the kind is the sampling."""
    question = existence(scene, rng, _dealt(tuple(SAMPLINGS), number // 2), there=number % 2 == 0)
    return _item("existence", question, phrases.YES_NO.format(question=question.text), question.answer)


def captions(scene: Scene, rng: Generator, number: int) -> Item | None:
    """A one-sentence caption, with five references."""
    everything = tuple(range(len(scene.objects)))
    return Item("caption", "caption", phrases.CAPTION, phrases.CAPTION, references(scene), (), everything)


def opened(scene: Scene, rng: Generator, number: int, makers: tuple[Maker, ...] = tuple(OPEN.values())) -> Item | None:
    """An open-ended question with a short answer."""
    question = ask(scene, rng, _dealt(makers, number))
    if question is None:
        return None
    return _item("open", question, phrases.as_typed(question.text, rng), question.answer)


TASKS: dict[str, Task] = {
    "choice": Task(MANY, choice),
    "science": Task(MANY, science),
    "existence": Task(MANY, exists),
    "caption": Task(FEW, captions),
    "open": Task(MANY, opened),
}


def lettered(options: Sequence[str]) -> str:
    """`A. red B. blue`."""
    return " ".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))


def _item(task: str, question: Question, prompt: str, gold: str, options: tuple[str, ...] = ()) -> Item:
    return Item(task, question.kind, question.text, prompt, (gold,), options, question.about, question.cells)


def lettered_item(
    scene: Scene, question: Question, rng: Generator, size: int, right: int, task: str, prompt: str
) -> Item | None:
    """The question with `size` options, the right one at position `right`."""
    wrong = plausible(scene, question, rng, size - 1)
    if len(wrong) < size - 1:
        return None
    options = [wrong[i] for i in rng.permutation(size - 1)]
    options.insert(right, question.answer)
    text = prompt.format(question=question.text, options=lettered(options))
    return _item(task, question, text, LETTERS[right], tuple(options))


def plausible(scene: Scene, question: Question, rng: Generator, many: int) -> list[str]:
    """`many` wrong answers, or fewer where there are no more: near counts, and what other objects of the scene are."""
    if question.answer.isdigit():
        # A run of neighbours with the answer anywhere in it: were it always in the middle, the middle would be a guess.
        answer, highest = int(question.answer), len(question.values) - 1
        first = int(rng.integers(max(0, answer - many), min(answer, highest - many) + 1))
        return [str(value) for value in range(first, first + many + 1) if value != answer]
    wrong = [question.values[i] for i in rng.permutation(len(question.values)) if question.values[i] != question.answer]
    there = {value for item in scene.objects for value in (item.colour, item.shape, item.mark)}
    return sorted(wrong, key=lambda value: value not in there)[:many]


def _dealt(values: tuple[T, ...], number: int) -> T:
    return values[number % len(values)]
