"""The scene graph: what is in a picture, and how one is drawn by lot.

Everything is decided from `(split, index)` alone, so a scene never has to be stored: the same pair gives the same
scene on every machine, and the three splits use disjoint streams of random numbers.

The picture is a grid of cells, one cell to an image token of the embedded model. A small object sits in one cell, a
large one covers two by two, and the mark printed on a small object can be read in that one cell only: a method that
drops the wrong token has dropped the answer. The rim of an object may stick out of its cells by a pixel or so, which is
too little to make another patch of this grid relevant to a question.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
TEXTURES = ("plain", "gradient", "stripes", "blotches")

FEW = (3, 5)
MANY = (6, 14)
"""Fewest and most objects in the two kinds of scene: those one sentence can list, and the crowded ones."""

_RADII = {"small": (5.4, 6.2), "large": (11.0, 12.4)}
_SPAN = {"small": 1, "large": 2}
_SHIFT = 1.6
_LARGE = 0.2
_MARKED = 0.75
_REPEAT, _LOOK_ALIKE = 0.35, 0.35
_ODD_ONE_OUT = 0.4
_COVERED = 0.15
_PLACING_ATTEMPTS = 60

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
    """A muted ground: tint, texture and its strength, pieces of clutter, pixel noise (0 to 255), and a seed for all."""

    rgb: tuple[int, int, int]
    texture: str
    strength: float
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

    `grounds` cover the canvas, or there are none and the `background` is all there is.
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


def sample_scene(rng: Generator, between: tuple[int, int] = MANY, columns: int = CELLS, rows: int = CELLS) -> Scene:
    """A scene with so many objects, all inside the central square (a centre crop keeps them)."""
    wanted = int(rng.integers(between[0], between[1] + 1))
    cast = _sample_cast(rng, wanted)
    placed = _place(rng, cast, columns, rows)
    return Scene(columns * CELL, rows * CELL, _sample_background(rng), tuple(placed))


def _sample_cast(rng: Generator, wanted: int) -> list[SceneObject]:
    """The attributes of the objects: repeats to be counted, look-alikes to be confused, and at times an odd one out."""
    cast: list[SceneObject] = []
    while len(cast) < wanted:
        lot = rng.random()
        if cast and lot < _REPEAT:
            twin = pick(rng, cast)
            cast.append(_dressed(rng, twin.shape, twin.colour))
        elif cast and lot < _REPEAT + _LOOK_ALIKE:
            cast.append(_look_alike(rng, pick(rng, cast)))
        else:
            cast.append(_dressed(rng, drawn(rng, SHAPES), drawn(rng, tuple(COLOURS))))
    return with_odd_one_out(rng, cast) if rng.random() < _ODD_ONE_OUT else cast


def _dressed(rng: Generator, shape: str, colour: str) -> SceneObject:
    """An object of this shape and colour with any size and mark; only small ones carry marks."""
    size = "large" if rng.random() < _LARGE else "small"
    mark = pick(rng, MARKS) if size == "small" and rng.random() < _MARKED else NO_MARK
    return SceneObject(shape, colour, size, mark)


def _look_alike(rng: Generator, item: SceneObject) -> SceneObject:
    """The same object but for its colour, its shape or its mark."""
    changed = pick(rng, ("colour", "shape", "mark") if item.size == "small" else ("colour", "shape"))
    if changed == "colour":
        return replace(item, colour=another(rng, tuple(COLOURS), item.colour))
    if changed == "shape":
        return replace(item, shape=another(rng, SHAPES, item.shape))
    return replace(item, mark=another(rng, MARKS, item.mark))


def with_odd_one_out(rng: Generator, cast: list[SceneObject]) -> list[SceneObject]:
    """All objects of one shape get one colour, but for one of them, where a shape occurs three times."""
    common = [shape for shape in SHAPES if sum(item.shape == shape for item in cast) >= 3]
    if not common:
        return cast
    shape = pick(rng, common)
    same, odd = (str(colour) for colour in rng.choice(tuple(COLOURS), size=2, replace=False))
    members = [i for i, item in enumerate(cast) if item.shape == shape]
    chosen = pick(rng, members)
    return [replace(item, colour=odd if i == chosen else same) if i in members else item for i, item in enumerate(cast)]


def _place(rng: Generator, cast: list[SceneObject], columns: int, rows: int) -> list[SceneObject]:
    """The objects in cells of the central square, the large ones first; one that finds no room is left out."""
    cells = min(columns, rows)
    corner = np.array([(columns - cells) / 2, (rows - cells) / 2]) * CELL
    # Who holds each cell; a small object may now and then take one corner of a large one.
    holder: dict[tuple[int, int], SceneObject] = {}
    covered: set[SceneObject] = set()
    placed: list[SceneObject] = []
    for item in sorted(cast, key=lambda item: item.size != "large"):
        span = _SPAN[item.size]
        for _ in range(_PLACING_ATTEMPTS):
            column, row = (int(value) for value in rng.integers(cells - span + 1, size=2))
            block = [(column + i, row + j) for i in range(span) for j in range(span)]
            below = [holder[cell] for cell in block if cell in holder]
            if below and not (_may_cover(item, below[0], covered) and rng.random() < _COVERED):
                continue
            centre = corner + (np.array([column, row]) + span / 2) * CELL + rng.uniform(-_SHIFT, _SHIFT, size=2)
            placed.append(_settled(rng, item, float(centre[0]), float(centre[1])))
            covered.update(below)
            holder.update(dict.fromkeys(block, placed[-1]))
            break
    return placed


def _may_cover(item: SceneObject, below: SceneObject, covered: set[SceneObject]) -> bool:
    """A small object may lie on a large one of another colour that nothing else lies on."""
    return item.size == "small" and below.size == "large" and below.colour != item.colour and below not in covered


def _settled(rng: Generator, item: SceneObject, x: float, y: float) -> SceneObject:
    radius = float(rng.uniform(*_RADII[item.size]))
    angle = float(rng.uniform(-0.12, 0.12))
    return replace(item, x=x, y=y, radius=radius, angle=angle, rgb=jitter(rng, COLOURS[item.colour], 13))


def another(rng: Generator, values: tuple[str, ...], than: str) -> str:
    return pick(rng, [value for value in values if value != than])


def drawn(rng: Generator, values: tuple[str, ...]) -> str:
    return values[int(rng.choice(len(values), p=frequency(values)))]


def jitter(rng: Generator, rgb: tuple[int, int, int], spread: int) -> tuple[int, int, int]:
    red, green, blue = np.clip(np.array(rgb) + rng.integers(-spread, spread + 1, size=3), 0, 255)
    return int(red), int(green), int(blue)


def _sample_background(rng: Generator) -> Background:
    """Greyish and of middle lightness, so that every colour, also black and white, stands out."""
    grey = int(rng.integers(95, 170))
    return Background(
        rgb=jitter(rng, (grey, grey, grey), 16),
        texture=pick(rng, TEXTURES),
        strength=float(rng.uniform(5, 18)),
        clutter=int(rng.integers(0, 13)),
        noise=float(rng.uniform(0, 7)),
        seed=int(rng.integers(2**31)),
    )
