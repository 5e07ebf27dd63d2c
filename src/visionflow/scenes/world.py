"""The scene graph: what is in a picture, and how one is drawn by lot.

Everything is decided from `(split, index)` alone, so a scene never has to be stored: the same pair gives the same
scene on every machine, and the three splits use disjoint streams of random numbers.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

SHAPES = ("circle", "square", "triangle", "star")
SIZES = ("small", "large")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 36, 38),
    "orange": (255, 138, 0),
    "yellow": (250, 226, 40),
    "green": (36, 160, 60),
    "blue": (36, 84, 224),
    "purple": (140, 48, 176),
    "white": (244, 244, 244),
    "black": (14, 14, 14),
}
TEXTURES = ("plain", "gradient", "stripes", "blotches")

SIDE = 96
"""Width and height of a default scene, in pixels: what the embedded model sees."""

_RADII = {"small": (10.0, 12.0), "large": (15.0, 18.0)}
_GAP = 3.0
_PLACING_ATTEMPTS = 60
_REPEAT_ATTRIBUTE = 0.35


@dataclass(frozen=True)
class SceneObject:
    """One object: its attributes, its centre and radius in pixels, and how it is turned (radians) and tinted."""

    shape: str
    colour: str
    size: str
    x: float
    y: float
    radius: float
    angle: float
    rgb: tuple[int, int, int]

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
    """A muted ground: its mean tint, a texture, the texture's strength and the pixel noise (0 to 255)."""

    rgb: tuple[int, int, int]
    texture: str
    strength: float
    noise: float
    seed: int


@dataclass(frozen=True)
class Scene:
    """A picture before it is drawn; all coordinates are pixels of a `width` x `height` canvas."""

    width: int
    height: int
    background: Background
    objects: tuple[SceneObject, ...]


def scene_rng(split: Split, index: int) -> Generator:
    """The random stream of one scene; streams of different splits never meet."""
    return np.random.default_rng((SPLITS.index(split), index))


def sample_scene(rng: Generator, width: int = SIDE, height: int = SIDE, most: int = 5) -> Scene:
    """A scene with 1 to `most` objects that do not touch, all inside the central square (a centre crop keeps them)."""
    wanted = int(rng.integers(1, most + 1))
    objects: list[SceneObject] = []
    for _ in range(wanted):
        placed = _place(rng, objects, width, height)
        if placed is not None:
            objects.append(placed)
    return Scene(width, height, _sample_background(rng), tuple(objects))


def _place(rng: Generator, others: list[SceneObject], width: int, height: int) -> SceneObject | None:
    """One more object in free space, or None where the canvas is too full for its size."""
    colour = _attribute(rng, tuple(COLOURS), [other.colour for other in others])
    shape = _attribute(rng, SHAPES, [other.shape for other in others])
    size = SIZES[rng.integers(len(SIZES))]
    side = min(width, height)
    radius = float(rng.uniform(*_RADII[size])) * side / SIDE
    corner = np.array([(width - side) / 2, (height - side) / 2])
    for _ in range(_PLACING_ATTEMPTS):
        x, y = corner + rng.uniform(radius + 1, side - radius - 1, size=2)
        if all(np.hypot(x - o.x, y - o.y) > radius + o.radius + _GAP for o in others):
            angle = float(rng.uniform(-0.12, 0.12))
            return SceneObject(
                shape, colour, size, float(x), float(y), radius, angle, _jitter(rng, COLOURS[colour], 13)
            )
    return None


def _attribute(rng: Generator, values: tuple[str, ...], seen: list[str]) -> str:
    """Any value, or quite often one that is there already: else nothing would ever be worth counting."""
    pool = seen if seen and rng.random() < _REPEAT_ATTRIBUTE else values
    return pool[rng.integers(len(pool))]


def _jitter(rng: Generator, rgb: tuple[int, int, int], spread: int) -> tuple[int, int, int]:
    red, green, blue = np.clip(np.array(rgb) + rng.integers(-spread, spread + 1, size=3), 0, 255)
    return int(red), int(green), int(blue)


def _sample_background(rng: Generator) -> Background:
    """Greyish and of middle lightness, so that every colour, also black and white, stands out."""
    grey = int(rng.integers(85, 185))
    return Background(
        rgb=_jitter(rng, (grey, grey, grey), 20),
        texture=TEXTURES[rng.integers(len(TEXTURES))],
        strength=float(rng.uniform(6, 24)),
        noise=float(rng.uniform(0, 9)),
        seed=int(rng.integers(2**31)),
    )
