"""The scene graph: what is in a picture, and the random stream that it is drawn from.

Everything is decided from `(split, index)` alone, so a scene never has to be stored: the same pair gives the same
scene on every machine, and the three splits use disjoint streams of random numbers.

The picture is a grid of cells, one cell to an image token of the embedded model. A small object has its centre in one
cell, a large one covers two by two, and the mark printed on a small object can be read in that one cell only: a method
that drops the wrong token has dropped the answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

CELL = 14
"""Side of a cell in pixels, and of a patch of the embedded model."""
CELLS = 12
"""Cells along a side of a default scene."""

# The first of each are the most frequent ones (see `frequency`).
SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 36, 38),
    "blue": (36, 84, 224),
    "yellow": (250, 226, 40),
    "green": (36, 160, 60),
    "white": (244, 244, 244),
    "purple": (150, 50, 185),
    "orange": (255, 138, 0),
    "black": (14, 14, 14),
}
SIZES = ("small", "large")
MARKS = ("dot", "bar", "slash", "ring")
DIGITS = tuple("0123456789")
"""Printed on objects like marks, to be read."""
NO_MARK = "none"

FEW = (3, 5)
MANY = (6, 16)
"""Fewest and most objects in the two kinds of scene: those one sentence can list, and the crowded ones."""

T = TypeVar("T")


@dataclass(frozen=True)
class SceneObject:
    """One object: its attributes, its centre and radius in pixels, how it is turned (radians), and its very tint."""

    shape: str
    colour: str
    size: str
    mark: str
    x: float = 0.0
    y: float = 0.0
    radius: float = 0.0
    angle: float = 0.0
    rgb: tuple[int, int, int] = (0, 0, 0)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom in pixels of the square around the object's circle."""
        return self.x - self.radius, self.y - self.radius, self.x + self.radius, self.y + self.radius

    @property
    def name(self) -> str:
        """Colour and shape, as an answer names it: `red circle`."""
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Background:
    """Pieces of clutter, pixel noise (0 to 255), and a seed for them and for the texture of the grounds."""

    clutter: int
    noise: float
    seed: int


@dataclass(frozen=True)
class Sign:
    """A plate with a short word on it, one letter to a cell: its first cell (row and column from 0) and its tint."""

    word: str
    colour: str
    row: int
    column: int
    rgb: tuple[int, int, int] = (0, 0, 0)

    @property
    def cells(self) -> tuple[tuple[int, int], ...]:
        """Row and column of each letter."""
        return tuple((self.row, self.column + i) for i in range(len(self.word)))


@dataclass(frozen=True)
class Ground:
    """A rectangle of the ground, in cells (last row and column excluded), of one kind and of its own tint."""

    kind: str
    top: int
    left: int
    bottom: int
    right: int
    rgb: tuple[int, int, int] = (0, 0, 0)

    def covers(self, row: int, column: int) -> bool:
        """Whether the cell lies in it."""
        return self.top <= row < self.bottom and self.left <= column < self.right


@dataclass(frozen=True)
class Litter:
    """A small thing that lies about: what, its colour, centre and reach in pixels, how it lies (radians), its tint."""

    kind: str
    colour: str
    x: float
    y: float
    radius: float
    angle: float
    rgb: tuple[int, int, int] = (0, 0, 0)

    @property
    def cell(self) -> tuple[int, int]:
        """Row and column, from 0, of the cell that it lies in."""
        return int(self.y // CELL), int(self.x // CELL)

    @property
    def name(self) -> str:
        """Colour and kind: `red leaf`."""
        return f"{self.colour} {self.kind}"


@dataclass(frozen=True)
class Scene:
    """A picture before it is drawn, in pixels of a `width` x `height` canvas; later objects lie on top.

    What no ground covers is grey.
    """

    width: int
    height: int
    background: Background
    objects: tuple[SceneObject, ...]
    signs: tuple[Sign, ...] = ()
    grounds: tuple[Ground, ...] = ()
    litter: tuple[Litter, ...] = ()


def scene_rng(split: Split, index: int) -> Generator:
    """The random stream of one scene; streams of different splits never meet."""
    return np.random.default_rng((SPLITS.index(split), index))


def pick(rng: Generator, values: Sequence[T]) -> T:
    """Any of the values, each as likely."""
    return values[int(rng.integers(len(values)))]


def frequency(values: tuple[str, ...]) -> NDArray[np.float64]:
    """How often each shape or colour is drawn: the second 1/sqrt(2) as often as the first, and so on."""
    weights = 1 / np.sqrt(np.arange(1.0, len(values) + 1))
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def another(rng: Generator, values: tuple[str, ...], than: str) -> str:
    return pick(rng, [value for value in values if value != than])


def drawn(rng: Generator, values: tuple[str, ...]) -> str:
    return values[int(rng.choice(len(values), p=frequency(values)))]


def jitter(rng: Generator, rgb: tuple[int, int, int], spread: int) -> tuple[int, int, int]:
    red, green, blue = (
        min(255, max(0, value + int(shift)))
        for value, shift in zip(rgb, rng.integers(-spread, spread + 1, size=3), strict=True)
    )
    return red, green, blue
