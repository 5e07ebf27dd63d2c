"""The kinds of task of the HiMAP paper (section 5.1) on this world, with the prompts of its appendix E.

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
from visionflow.scenes.places import at, empty, ground, half, quarter, under, where
from visionflow.scenes.questions import (
    Maker,
    Question,
    ask,
    colour,
    comparison,
    count,
    digit,
    mark,
    odd_one_out,
    relation,
    shape,
)
from visionflow.scenes.reading import sign, word
from visionflow.scenes.sampling import sample_scene
from visionflow.scenes.strewn import strewn
from visionflow.scenes.world import FEW, MANY, Scene, Split, scene_rng

T = TypeVar("T")

LETTERS = "ABCD"

OPEN: dict[str, Maker] = {
    "colour": colour,
    "shape": shape,
    "mark": mark,
    "digit": digit,
    "word": word,
    "sign": sign,
    "half": half,
    "quarter": quarter,
    "where": where,
    "at": at,
    "empty": empty,
    "ground": ground,
    "under": under,
    "strewn": strewn,
    "count": count,
    "relation": relation,
    "comparison": comparison,
    "odd-one-out": odd_one_out,
}
"""Questions with a short answer about one picture."""

_OPEN = tuple(OPEN.values())
_CHOICE: tuple[Maker, ...] = (count, colour, shape, mark, odd_one_out, digit, word, ground)
_SCIENCE: tuple[Maker, ...] = (knowledge, relation, colour, knowledge, comparison, count, quarter, half)


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


def sample_item(task: str, split: Split, number: int) -> tuple[Scene, Item]:
    """Item `number` of a task with its scene; scenes are drawn until one allows the item."""
    rng = scene_rng(split, number * len(TASKS) + list(TASKS).index(task))
    while True:
        scene = sample_scene(rng, TASKS[task].between)
        item = TASKS[task].make(scene, rng, number)
        if item is not None:
            return scene, item


def _choice(scene: Scene, rng: Generator, number: int) -> Item | None:
    """A lettered question with four options, like A-OKVQA."""
    question = ask(scene, rng, _dealt(_CHOICE, number))
    if question is None:
        return None
    right = (number % len(_CHOICE) + number // len(_CHOICE)) % 4
    return _lettered_item(scene, question, rng, 4, right, "choice", phrases.CHOICE)


def _science(scene: Scene, rng: Generator, number: int) -> Item | None:
    """A lettered question with two to four options, some of general knowledge, like ScienceQA."""
    question = ask(scene, rng, _dealt(_SCIENCE, number))
    if question is None:
        return None
    size = min(2 + number // len(_SCIENCE) % 3, len(question.values))
    right = (number // 2 + number // (3 * len(_SCIENCE))) % size
    return _lettered_item(scene, question, rng, size, right, "science", phrases.SCIENCE)


def _existence(scene: Scene, rng: Generator, number: int) -> Item | None:
    """A yes/no question about existence, like POPE: the kind is the sampling."""
    question = existence(scene, rng, _dealt(tuple(SAMPLINGS), number // 2), there=number % 2 == 0)
    return _item("existence", question, phrases.YES_NO.format(question=question.text), question.answer)


def _caption(scene: Scene, rng: Generator, number: int) -> Item | None:
    """A one-sentence caption, with five references."""
    everything = tuple(range(len(scene.objects)))
    return Item("caption", "caption", phrases.CAPTION, phrases.CAPTION, references(scene), (), everything)


def _open(scene: Scene, rng: Generator, number: int) -> Item | None:
    """An open-ended question with a short answer."""
    question = ask(scene, rng, _dealt(_OPEN, number))
    if question is None:
        return None
    return _item("open", question, phrases.as_typed(question.text, rng), question.answer)


TASKS: dict[str, Task] = {
    "choice": Task(MANY, _choice),
    "science": Task(MANY, _science),
    "existence": Task(MANY, _existence),
    "caption": Task(FEW, _caption),
    "open": Task(MANY, _open),
}
"""Tasks of one picture and one turn; those of more are `visionflow.scenes.conversations.CONVERSATIONS`."""


def lettered(options: Sequence[str]) -> str:
    """`A. red B. blue`."""
    return " ".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))


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


def _lettered_item(
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


def _item(task: str, question: Question, prompt: str, gold: str, options: tuple[str, ...] = ()) -> Item:
    return Item(task, question.kind, question.text, prompt, (gold,), options, question.about, question.cells)


def _dealt(values: tuple[T, ...], number: int) -> T:
    return values[number % len(values)]
