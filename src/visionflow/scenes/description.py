"""Naming objects: a description fits some objects of a scene, and a good name fits exactly one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from numpy.random import Generator

from visionflow.scenes.world import Scene

T = TypeVar("T")

_EXTREME_BY = 0.06
"""How far beyond the next one, as a share of the shorter side, the leftmost object must be to be called so."""
_EXTREMES = {"leftmost": ("x", -1), "rightmost": ("x", 1), "topmost": ("y", -1), "bottommost": ("y", 1)}


@dataclass(frozen=True)
class Description:
    """Attributes an object must have; an attribute left out is free."""

    size: str | None = None
    colour: str | None = None
    shape: str | None = None

    def matches(self, scene: Scene) -> tuple[int, ...]:
        """Indices of the scene's objects that fit."""
        return tuple(
            i
            for i, item in enumerate(scene.objects)
            if self.size in (None, item.size)
            and self.colour in (None, item.colour)
            and self.shape in (None, item.shape)
        )

    @property
    def singular(self) -> str:
        """As one thing: `red circle`, `large object`."""
        return " ".join(word for word in (self.size, self.colour, self.shape or "object") if word)

    @property
    def plural(self) -> str:
        """As several things: `red circles`, `large objects`."""
        return f"{self.singular}s"


def naming(scene: Scene, target: int, rng: Generator, hidden: Literal["colour", "shape"] | None) -> str | None:
    """A name without the `hidden` attribute that fits the target and nothing else, or None.

    Descriptions are tried from the shortest; places (`leftmost object`) come in now and then and as a last resort.
    """
    item = scene.objects[target]
    candidates = [
        Description(),
        Description(colour=item.colour),
        Description(shape=item.shape),
        Description(colour=item.colour, shape=item.shape),
        Description(size=item.size, colour=item.colour),
        Description(size=item.size, shape=item.shape),
        Description(size=item.size, colour=item.colour, shape=item.shape),
    ]
    if hidden is None:
        candidates = candidates[3:]
    visible = [c for c in candidates if hidden is None or getattr(c, hidden) is None]
    unique = [c.singular for c in visible if c.matches(scene) == (target,)]
    places = [f"{place} object" for place in _EXTREMES if _is_extreme(scene, target, place)]
    if hidden is not None and places and (not unique or rng.random() < 0.15):
        return pick(rng, places)
    if not unique:
        return None
    return unique[0] if rng.random() < 0.8 else pick(rng, unique)


def pick(rng: Generator, values: Sequence[T]) -> T:
    """Any of the values, each as likely."""
    return values[int(rng.integers(len(values)))]


def _is_extreme(scene: Scene, target: int, place: str) -> bool:
    axis, sign = _EXTREMES[place]
    reach = [sign * float(getattr(item, axis)) for item in scene.objects]
    others = [value for i, value in enumerate(reach) if i != target]
    return bool(others) and reach[target] > max(others) + _EXTREME_BY * min(scene.width, scene.height)
