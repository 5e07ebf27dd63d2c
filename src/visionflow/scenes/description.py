"""Naming objects: a description fits some objects of a scene, and a good name fits exactly one."""

from dataclasses import dataclass

from numpy.random import Generator

from visionflow.scenes.phrases import a
from visionflow.scenes.world import NO_MARK, Scene, SceneObject, pick


@dataclass(frozen=True)
class Description:
    """Attributes an object must have; an attribute left out is free."""

    size: str | None = None
    colour: str | None = None
    shape: str | None = None
    mark: str | None = None

    def fits(self, item: SceneObject) -> bool:
        """Whether the object has all of them."""
        return (
            self.size in (None, item.size)
            and self.colour in (None, item.colour)
            and self.shape in (None, item.shape)
            and self.mark in (None, item.mark)
        )

    def matches(self, scene: Scene) -> tuple[int, ...]:
        """Indices of the scene's objects that fit."""
        return tuple(i for i, item in enumerate(scene.objects) if self.fits(item))

    @property
    def singular(self) -> str:
        """As one thing: `red circle`, `large object`, `star with a dot`."""
        return self._said(self.shape or "object")

    @property
    def plural(self) -> str:
        """As several things: `red circles`, `objects with a dot`."""
        return self._said(plural(self.shape or "object"))

    def _said(self, noun: str) -> str:
        marked = f"with {a(self.mark)}" if self.mark else None
        return " ".join(word for word in (self.size, self.colour, noun, marked) if word)


def plural(noun: str) -> str:
    """`circles`, `crosses`."""
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"


def naming(scene: Scene, target: int, rng: Generator, hidden: str | None = None) -> str | None:
    """A name without the `hidden` attribute that fits the target and nothing else, or None; mostly a short one."""
    item = scene.objects[target]
    unique = [
        candidate.singular
        for candidate in _candidates(item)
        if (hidden is None or getattr(candidate, hidden) is None) and candidate.matches(scene) == (target,)
    ]
    if not unique:
        return None
    return unique[0] if rng.random() < 0.5 else pick(rng, unique)


def _candidates(item: SceneObject) -> list[Description]:
    """Descriptions of an object from the shortest to the longest."""
    colour, shape, size = item.colour, item.shape, item.size
    found = [
        Description(colour=colour, shape=shape),
        Description(shape=shape),
        Description(colour=colour),
        Description(size=size, shape=shape),
        Description(size=size, colour=colour),
        Description(size=size, colour=colour, shape=shape),
    ]
    if item.mark != NO_MARK:
        found += [
            Description(shape=shape, mark=item.mark),
            Description(colour=colour, mark=item.mark),
            Description(colour=colour, shape=shape, mark=item.mark),
        ]
    return found
