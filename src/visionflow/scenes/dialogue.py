"""Several questions in one conversation, where a later one rests on what was said before."""

from collections.abc import Callable
from dataclasses import dataclass

from numpy.random import Generator

from visionflow.scenes import phrases
from visionflow.scenes.description import Description
from visionflow.scenes.places import cell_of, half, place, where
from visionflow.scenes.questions import MOST, ask, colour, count, digit, mark, shape
from visionflow.scenes.tasks import LETTERS, lettered, plausible
from visionflow.scenes.world import COLOURS, DIGITS, MARKS, SHAPES, Scene, SceneObject, pick


@dataclass(frozen=True)
class Turn:
    """A prompt and the answer to give; of a letter also what it stands for, which is to be known before it."""

    prompt: str
    answer: str
    meant: str | None = None


Talk = tuple[tuple[Turn, ...], tuple[int, ...], tuple[tuple[int, int], ...]]
"""Turns, and the objects and cells that the answers rest on."""


def about_one(scene: Scene, rng: Generator) -> Talk | None:
    """A question about an object, and then others about "it"."""
    question = ask(scene, rng, pick(rng, (colour, shape, mark, digit, half, where)))
    if question is None:
        return None
    facts = _facts(scene.objects[question.about[0]])
    facts.pop(question.kind, None)
    names = list(facts)
    later = [names[i] for i in rng.permutation(len(names))[: int(rng.integers(1, 3))]]
    turns = [Turn(question.text, question.answer), *(Turn(phrases.IT[name], facts[name]) for name in later)]
    return tuple(turns), question.about, ()


def then_the_letter(scene: Scene, rng: Generator, makers: tuple[Callable[..., object], ...]) -> Talk | None:
    """A question, and then its answer's letter among options: first seen, then said."""
    question = ask(scene, rng, pick(rng, makers))  # type: ignore[arg-type]
    if question is None or len(question.values) < 2:
        return None
    options = plausible(scene, question, rng, int(rng.integers(1, 4)))
    right = int(rng.integers(len(options) + 1))
    options.insert(right, question.answer)
    letter = phrases.LETTER.format(options=lettered(options))
    turns = (Turn(question.text, question.answer), Turn(letter, LETTERS[right], question.answer))
    return turns, question.about, question.cells


def counted(scene: Scene, rng: Generator) -> Talk | None:
    """How many there are of one colour or shape, and then of others."""
    first = ask(scene, rng, count)
    if first is None:
        return None
    turns, about = [Turn(first.text, first.answer)], set(first.about)
    pool = [Description(colour=name) for name in COLOURS] + [Description(shape=name) for name in SHAPES]
    for i in rng.permutation(len(pool))[: int(rng.integers(1, 3))]:
        found = pool[i].matches(scene)
        if len(found) <= MOST:
            turns.append(Turn(pick(rng, phrases.AND).format(pool[i].plural), str(len(found))))
            about |= set(found)
    return tuple(turns), tuple(sorted(about)), ()


def _facts(item: SceneObject) -> dict[str, str]:
    facts = {"colour": item.colour, "shape": item.shape, "size": item.size}
    if item.mark in MARKS:
        facts["mark"] = item.mark
    if item.mark in DIGITS:
        facts["digit"] = item.mark
    if item.size == "small":
        facts["where"] = place(cell_of(item))
    return facts
