"""Questions about a scene, each with the one answer that the scene graph gives it.

Every maker returns None where the scene allows no unambiguous question of its kind.
"""

from collections.abc import Callable
from dataclasses import dataclass

from numpy.random import Generator

from visionflow.scenes import phrases
from visionflow.scenes.description import Description, naming, pick
from visionflow.scenes.world import COLOURS, SHAPES, SIZES, Scene

_CLEARLY = 0.08
"""How far apart, as a share of the shorter side, two centres are before one is left of or above the other."""


@dataclass(frozen=True)
class Question:
    """A question as a user would type it, its short answer, its kind, and the objects (indices) the answer rests on."""

    text: str
    answer: str
    kind: str
    about: tuple[int, ...]


def count(scene: Scene, rng: Generator) -> Question | None:
    """How many objects fit a description; the description may fit none."""
    everything = rng.random() < 0.4
    wanted = Description() if everything else _some_description(scene, rng)
    found = wanted.matches(scene)
    name = pick(rng, phrases.ANYTHING) if everything else wanted.plural
    return Question(pick(rng, phrases.COUNT).format(name), str(len(found)), "count", found)


def colour(scene: Scene, rng: Generator) -> Question | None:
    """The colour of an object that its shape, size or place singles out."""
    target = int(rng.integers(len(scene.objects)))
    name = naming(scene, target, rng, hidden="colour")
    if name is None:
        return None
    return Question(pick(rng, phrases.COLOUR).format(name), scene.objects[target].colour, "colour", (target,))


def shape(scene: Scene, rng: Generator) -> Question | None:
    """The shape of an object that its colour, size or place singles out."""
    target = int(rng.integers(len(scene.objects)))
    name = naming(scene, target, rng, hidden="shape")
    if name is None:
        return None
    return Question(pick(rng, phrases.SHAPE).format(name), scene.objects[target].shape, "shape", (target,))


def existence(scene: Scene, rng: Generator) -> Question:
    """Whether there is such an object: as often yes as no, and a no shares its colour or shape with what is there."""
    there = rng.random() < 0.5
    item = scene.objects[rng.integers(len(scene.objects))]
    wanted = Description(colour=item.colour, shape=item.shape)
    if not there:
        # The colour of one object with the shape of another is the hardest no; next comes one attribute changed.
        wanted = Description(colour=item.colour, shape=pick(rng, scene.objects).shape)
        while wanted.matches(scene):
            swap_colour = rng.random() < 0.5
            wanted = Description(
                colour=pick(rng, tuple(COLOURS)) if swap_colour else item.colour,
                shape=item.shape if swap_colour else pick(rng, SHAPES),
            )
    found = wanted.matches(scene)
    text = pick(rng, phrases.EXISTENCE).format(phrases.a(wanted.singular))
    return Question(text, "yes" if there else "no", "existence", found)


def relation(scene: Scene, rng: Generator) -> Question | None:
    """Which object lies on one side of another, or whether a given one does."""
    anchor = int(rng.integers(len(scene.objects)))
    anchor_name = naming(scene, anchor, rng, hidden=None)
    side = pick(rng, tuple(phrases.SIDES))
    if anchor_name is None:
        return None
    spoken = pick(rng, phrases.SIDES[side])
    sides = {i: _on_side(scene, i, anchor, side) for i in range(len(scene.objects)) if i != anchor}
    if rng.random() < 0.5:
        there = [i for i, on_side in sides.items() if on_side]
        if len(there) != 1 or None in sides.values():
            return None
        text = pick(rng, phrases.WHAT_IS_THERE).format(spoken, anchor_name)
        return Question(text, scene.objects[there[0]].name, "relation", (anchor, there[0]))
    clear = [i for i, on_side in sides.items() if on_side is not None]
    if not clear:
        return None
    other = clear[rng.integers(len(clear))]
    other_name = naming(scene, other, rng, hidden=None)
    if other_name is None:
        return None
    text = pick(rng, phrases.IS_IT_THERE).format(other_name, spoken, anchor_name)
    return Question(text, "yes" if sides[other] else "no", "relation", (anchor, other))


def choice(scene: Scene, rng: Generator) -> Question | None:
    """A count, colour or shape question with four lettered options; the answer is the letter."""
    maker, values = _CHOOSABLE[rng.integers(len(_CHOOSABLE))]
    plain = maker(scene, rng)
    if plain is None or plain.answer not in values:
        return None
    wrong = [value for value in values if value != plain.answer]
    options = [plain.answer, *(str(value) for value in rng.choice(wrong, size=3, replace=False))]
    options = [options[i] for i in rng.permutation(4)]
    letter = "ABCD"[options.index(plain.answer)]
    lines = "".join(f"\n{name}. {option}" for name, option in zip("ABCD", options, strict=True))
    return Question(f"{plain.text}{lines}{pick(rng, phrases.LETTER_ONLY)}", letter, "choice", plain.about)


def listing(scene: Scene, rng: Generator) -> Question:
    """All objects from left to right, with their sizes: the densest thing one can ask."""
    order = sorted(range(len(scene.objects)), key=lambda i: scene.objects[i].x)
    names = [f"{scene.objects[i].size} {scene.objects[i].name}" for i in order]
    return Question(pick(rng, phrases.LISTING), ", ".join(names), "listing", tuple(order))


_CHOOSABLE: tuple[tuple[Callable[[Scene, Generator], Question | None], tuple[str, ...]], ...] = (
    (count, tuple("12345")),
    (colour, tuple(COLOURS)),
    (shape, SHAPES),
)
KINDS: dict[str, Callable[[Scene, Generator], Question | None]] = {
    "count": count,
    "colour": colour,
    "shape": shape,
    "existence": existence,
    "relation": relation,
    "choice": choice,
    "listing": listing,
}
_MIX = (
    *("count",) * 5,
    *("colour",) * 4,
    *("shape",) * 4,
    *("existence",) * 4,
    *("relation",) * 4,
    *("choice",) * 2,
)
"""How often each kind is asked, as repeats."""


def ask(scene: Scene, rng: Generator, kind: str) -> Question | None:
    """One question of a kind, in a user's spelling, or None where a few tries found none for this scene."""
    for _ in range(8):
        question = KINDS[kind](scene, rng)
        if question is not None:
            text = phrases.as_typed(question.text, rng)
            return Question(text, question.answer, question.kind, question.about)
    return None


def questions(scene: Scene, rng: Generator, number: int = 8) -> list[Question]:
    """`number` different questions of mixed kinds about one scene (of every kind but `listing`)."""
    asked: dict[str, Question] = {}
    while len(asked) < number:
        question = ask(scene, rng, pick(rng, _MIX))
        if question is not None:
            asked.setdefault(question.text, question)
    return list(asked.values())


def _some_description(scene: Scene, rng: Generator) -> Description:
    """A description of something there, with one attribute now and then swapped for any other."""
    item = scene.objects[rng.integers(len(scene.objects))]
    used = pick(rng, (("colour",), ("shape",), ("size",), ("colour", "shape")))
    values = {"colour": item.colour, "shape": item.shape, "size": item.size}
    if rng.random() < 0.25:
        swapped = pick(rng, ("colour", "shape", "size"))
        values[swapped] = pick(rng, {"colour": tuple(COLOURS), "shape": SHAPES, "size": SIZES}[swapped])
    return Description(**{name: values[name] for name in used})


def _on_side(scene: Scene, one: int, anchor: int, side: str) -> bool | None:
    """Whether `one` lies on that side of `anchor`; None where the centres are too nearly level to say."""
    axis, sign = {"left": ("x", -1), "right": ("x", 1), "above": ("y", -1), "below": ("y", 1)}[side]
    apart = sign * (getattr(scene.objects[one], axis) - getattr(scene.objects[anchor], axis))
    margin = _CLEARLY * min(scene.width, scene.height)
    return None if abs(apart) < margin else bool(apart > 0)
