"""Open-ended questions about a scene, each with the one short answer that the scene graph gives it.

Every maker returns None where the scene allows no unambiguous question of its kind.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from numpy.random import Generator

from visionflow.scenes import phrases
from visionflow.scenes.description import Description, naming, plural
from visionflow.scenes.world import CELL, COLOURS, DIGITS, MARKS, NO_MARK, SHAPES, Scene, pick

MOST = 6
"""The highest count that is asked for."""

_CLEARLY = 1.5 * CELL
"""How many pixels lie between two centres before one is said to be left of or above the other."""


@dataclass(frozen=True)
class Question:
    """A question, its answer in a few words, its kind, and the objects (indices) the answer rests on.

    `values` are the answers that questions of its kind can have: the pool of wrong options. `cells` are places (row and
    column, from 0) that it rests on besides objects: of signs, or of the ground.
    """

    text: str
    answer: str
    kind: str
    about: tuple[int, ...]
    values: tuple[str, ...] = ()
    cells: tuple[tuple[int, int], ...] = ()


Maker = Callable[[Scene, Generator], Question | None]


def count(scene: Scene, rng: Generator) -> Question | None:
    """How many objects fit a description; the description may fit none."""
    wanted = _some_description(scene, rng)
    found = wanted.matches(scene)
    if len(found) > MOST:
        return None
    text = pick(rng, phrases.COUNT).format(wanted.plural)
    return Question(text, str(len(found)), "count", found, tuple(str(number) for number in range(MOST + 1)))


def colour(scene: Scene, rng: Generator) -> Question | None:
    """The colour of an object that its shape, size or mark singles out."""
    return _attribute(scene, rng, "colour", phrases.COLOUR, tuple(COLOURS))


def shape(scene: Scene, rng: Generator) -> Question | None:
    """The shape of an object that its colour, size or mark singles out."""
    return _attribute(scene, rng, "shape", phrases.SHAPE, SHAPES)


def mark(scene: Scene, rng: Generator) -> Question | None:
    """Which mark is printed on an object that its colour, shape or size singles out."""
    return _attribute(scene, rng, "mark", phrases.MARK, MARKS)


def digit(scene: Scene, rng: Generator) -> Question | None:
    """Which digit is printed on an object that its colour, shape or size singles out."""
    question = _attribute(scene, rng, "mark", phrases.DIGIT, DIGITS)
    return replace(question, kind="digit") if question else None


def relation(scene: Scene, rng: Generator) -> Question | None:
    """On which side of another object an object lies."""
    if len(scene.objects) < 2:
        return None
    one, other = (int(i) for i in rng.choice(len(scene.objects), size=2, replace=False))
    axis, text, sides = pick(rng, [("x", phrases.ACROSS, ("left", "right")), ("y", phrases.DOWN, ("above", "below"))])
    apart = getattr(scene.objects[one], axis) - getattr(scene.objects[other], axis)
    names = naming(scene, one, rng), naming(scene, other, rng)
    if abs(apart) < _CLEARLY or None in names:
        return None
    return Question(text.format(*names), sides[int(apart > 0)], "relation", (one, other), sides)


def comparison(scene: Scene, rng: Generator) -> Question | None:
    """Of which of two shapes, or of which of two colours, there are more."""
    attribute = pick(rng, ("shape", "colour"))
    values = sorted({str(getattr(item, attribute)) for item in scene.objects})
    if len(values) < 2:
        return None
    one, other = (str(value) for value in rng.choice(values, size=2, replace=False))
    groups = [
        tuple(i for i, item in enumerate(scene.objects) if getattr(item, attribute) == value) for value in (one, other)
    ]
    if len(groups[0]) == len(groups[1]):
        return None
    names = (plural(one), plural(other)) if attribute == "shape" else (f"{one} objects", f"{other} objects")
    answers = (plural(one), plural(other)) if attribute == "shape" else (one, other)
    text = pick(rng, phrases.COMPARISON).format(*names)
    more = answers[int(len(groups[1]) > len(groups[0]))]
    return Question(text, more, "comparison", groups[0] + groups[1], answers)


def odd_one_out(scene: Scene, rng: Generator) -> Question | None:
    """The colour of the one object that differs from all others of its shape."""
    found = []
    for name in SHAPES:
        members = Description(shape=name).matches(scene)
        colours = Counter(scene.objects[i].colour for i in members)
        if len(members) >= 3 and sorted(colours.values()) == [1, len(members) - 1]:
            found.append((name, members, min(colours, key=lambda colour: colours[colour])))
    if not found:
        return None
    name, members, odd = pick(rng, found)
    text = pick(rng, phrases.ODD_ONE_OUT)
    noun = plural(name) if "among" in text else name
    return Question(text.format(noun), odd, "odd-one-out", members, tuple(COLOURS))


def ask(scene: Scene, rng: Generator, maker: Maker, tries: int = 8) -> Question | None:
    """One question by a maker, or None where a few tries found none for this scene."""
    for _ in range(tries):
        question = maker(scene, rng)
        if question is not None:
            return question
    return None


def _attribute(
    scene: Scene, rng: Generator, hidden: str, wordings: tuple[str, ...], values: tuple[str, ...]
) -> Question | None:
    target = int(rng.integers(len(scene.objects)))
    answer = str(getattr(scene.objects[target], hidden))
    name = naming(scene, target, rng, hidden)
    if name is None or answer not in values:
        return None
    return Question(pick(rng, wordings).format(name), answer, hidden, (target,), values)


def _some_description(scene: Scene, rng: Generator) -> Description:
    """A description of something there, with one attribute now and then swapped for any other."""
    item = pick(rng, scene.objects)
    used = pick(rng, (("colour",), ("shape",), ("mark",), ("colour", "shape"), ("colour", "shape")))
    values = {"colour": item.colour, "shape": item.shape, "mark": item.mark if item.mark != NO_MARK else "dot"}
    if rng.random() < 0.25:
        swapped = pick(rng, used)
        values[swapped] = pick(rng, {"colour": tuple(COLOURS), "shape": SHAPES, "mark": MARKS}[swapped])
    return Description(**{name: values[name] for name in used})
