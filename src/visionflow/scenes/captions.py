"""One sentence that names every object of a scene, in five ways."""

from numpy.random import Generator

from visionflow.scenes import phrases
from visionflow.scenes.description import plural
from visionflow.scenes.world import CELL, Scene

_NUMBERS = ("no", "one", "two", "three", "four", "five")


def names_in_reading_order(scene: Scene) -> list[str]:
    """`a red circle` for every object, cell row by cell row, and from left to right in a row."""
    # A large object belongs to the row of its upper half: its centre lies between two rows.
    order = sorted(scene.objects, key=lambda item: (int((item.y - item.radius / 2) // CELL), item.x))
    return [phrases.a(item.name) for item in order]


def grouped_names(scene: Scene) -> list[str]:
    """The same with equal objects together where the first of them is: `two red circles`."""
    names = [item.removeprefix("an ").removeprefix("a ") for item in names_in_reading_order(scene)]
    return [
        phrases.a(name) if names.count(name) == 1 else f"{_number(names.count(name))} {plural(name)}"
        for name in dict.fromkeys(names)
    ]


def caption(scene: Scene, wording: int) -> str:
    """The sentence in one of the five wordings."""
    return _sentence(phrases.CAPTIONS[wording].format(joined(names_in_reading_order(scene))))


def references(scene: Scene) -> tuple[str, ...]:
    """Five captions as different people might write them: each with its own wording, some counting equal objects."""
    plain, grouped = joined(names_in_reading_order(scene)), joined(grouped_names(scene))
    listed = (plain, plain, grouped, plain, grouped)
    return tuple(_sentence(text.format(what)) for text, what in zip(phrases.CAPTIONS, listed, strict=True))


def some_caption(scene: Scene, rng: Generator) -> str:
    """Any of the plain wordings."""
    return caption(scene, int(rng.integers(len(phrases.CAPTIONS))))


def joined(names: list[str]) -> str:
    """`a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _number(count: int) -> str:
    return _NUMBERS[count] if count < len(_NUMBERS) else str(count)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
