"""Questions about two pictures in one prompt."""

from dataclasses import replace

from numpy.random import Generator

from visionflow.scenes import phrases
from visionflow.scenes.description import Description
from visionflow.scenes.existence import pairs_there
from visionflow.scenes.places import half
from visionflow.scenes.questions import Maker, Question, ask, colour, count, digit, mark, shape
from visionflow.scenes.reading import word
from visionflow.scenes.world import COLOURS, Scene, pick

ORDINALS = ("first", "second")

_MAKERS: tuple[Maker, ...] = (count, count, colour, shape, mark, digit, word, half)

Pair = tuple[Scene, Scene]
Shared = tuple[Question, tuple[tuple[int, ...], tuple[int, ...]]]
"""A question whose `about` is empty, and the objects of each picture that its answer rests on."""


def which_picture(scenes: Pair, rng: Generator) -> Shared | None:
    """In which of two pictures an object is that only one of them shows."""
    there = [set(pairs_there(scene)) for scene in scenes]
    one = int(rng.integers(2))
    only = sorted(there[one] - there[1 - one])
    if not only:
        return None
    wanted = Description(*(None, *pick(rng, only)))
    text = pick(rng, phrases.WHICH_PICTURE).format(phrases.a(wanted.singular))
    found = [wanted.matches(scene) for scene in scenes]
    return Question(text, ORDINALS[one], "which-picture", (), ORDINALS), (found[0], found[1])


def more_in(scenes: Pair, rng: Generator) -> Shared | None:
    """Which of two pictures shows more objects of a colour."""
    wanted = Description(colour=pick(rng, tuple(COLOURS)))
    found = [wanted.matches(scene) for scene in scenes]
    if len(found[0]) == len(found[1]):
        return None
    text = phrases.MORE_IN.format(wanted.plural)
    answer = ORDINALS[int(len(found[1]) > len(found[0]))]
    return Question(text, answer, "more-in", (), ORDINALS), (found[0], found[1])


def in_one(scenes: Pair, rng: Generator) -> tuple[Question, int] | None:
    """A question about one of the pictures, and which."""
    one = int(rng.integers(2))
    question = ask(scenes[one], rng, pick(rng, _MAKERS))
    if question is None:
        return None
    return replace(question, text=phrases.in_picture(question.text, ORDINALS[one], rng), kind="in-picture"), one
