"""How a scene is drawn by lot: crowded, cluttered, touching, with things to read.

Every small object has its centre in a cell of its own, but may touch or overlap its neighbours; a small one may lie on
a large one. So what a patch shows mostly has one owner, and still no patch can be told by being unlike the others: the
ground is textured, of several kinds, and strewn with specks and litter in the colours of objects.
"""

from dataclasses import replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from visionflow.scenes.ground import sample_grounds
from visionflow.scenes.litter import sample_litter
from visionflow.scenes.world import (
    CELL,
    CELLS,
    COLOURS,
    DIGITS,
    MANY,
    MARKS,
    NO_MARK,
    SHAPES,
    Background,
    Scene,
    SceneObject,
    Sign,
    another,
    drawn,
    jitter,
    pick,
    scene_rng,
)

WORDS = (
    *("cat", "car", "cap", "can", "cot", "cow", "dog", "fog", "fig", "pig", "pin", "pan", "pen", "hen", "sea", "tea"),
    *("sun", "run", "bus", "bud", "bed", "box", "fox", "fix", "hat", "hut", "hot", "map", "mop", "mud", "jam", "key"),
)
"""What signs say; many differ in one letter only, so that no letter can be left out."""

SIGNS = (0, 0, 1, 1, 1, 2)
"""How many signs a picture has, each as likely."""

PRINTED = ("circle", "square")
"""Shapes with room for a digit."""

_RADII = {"small": (5.3, 6.4), "large": (11.0, 12.6)}
_SPAN = {"small": 1, "large": 2}
_SHIFT = 3.0
_LARGE = 0.18
_MARKED, _NUMBERED = 0.45, 0.4
_REPEAT, _LOOK_ALIKE, _ODD = 0.35, 0.4, 0.4
_NEAR, _COVERED = 0.5, 0.25
_ATTEMPTS = 60


def sample_scene(
    rng: Generator,
    between: tuple[int, int] = MANY,
    columns: int = CELLS,
    rows: int = CELLS,
    signs: tuple[int, ...] = SIGNS,
) -> Scene:
    """A scene with so many objects (now and then fewer, where no room is left), on a canvas of whole cells.

    All that is asked for is in the central square, so that a centre crop keeps it.
    """
    taken = _outside_the_square(rows, columns)
    plates = _sample_signs(rng, pick(rng, signs), taken)
    placed = _placed(rng, _sample_cast(rng, int(rng.integers(between[0], between[1] + 1))), taken)
    grounds, litter = sample_grounds(rng, columns, rows), sample_litter(rng, taken)
    return Scene(columns * CELL, rows * CELL, _sample_background(rng), placed, plates, grounds, litter)


def example_scene() -> Scene:
    """That of examples/scene.png, which is no part of the package: wider than high, and a centre crop keeps all."""
    return sample_scene(scene_rng("test", 953), between=(6, 6), columns=16, rows=12)


def _outside_the_square(rows: int, columns: int) -> NDArray[np.bool_]:
    """Cells that no central square has, bool [rows, columns]."""
    outside = np.ones((rows, columns), dtype=np.bool_)
    side = min(rows, columns)
    top, left = (rows - side) // 2, (columns - side) // 2
    outside[top : top + side, left : left + side] = False
    return outside


def _sample_signs(rng: Generator, many: int, taken: NDArray[np.bool_]) -> tuple[Sign, ...]:
    """Signs of different colours and words, nowhere one on the other."""
    rows, columns = taken.shape
    colours = rng.permutation(list(COLOURS))
    words = rng.permutation(WORDS)
    signs = []
    for i in range(many):
        word, colour = str(words[i % len(words)]), str(colours[i % len(colours)])
        for _ in range(_ATTEMPTS):
            row, column = int(rng.integers(rows)), int(rng.integers(columns - len(word) + 1))
            if not taken[row, column : column + len(word)].any():
                taken[row, column : column + len(word)] = True
                signs.append(Sign(word, colour, row, column, jitter(rng, COLOURS[colour], 13)))
                break
    return tuple(signs)


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
    return _with_odd_one_out(rng, cast) if rng.random() < _ODD else cast


def _dressed(rng: Generator, shape: str, colour: str) -> SceneObject:
    size = "large" if rng.random() < _LARGE else "small"
    return SceneObject(shape, colour, size, _some_mark(rng, shape) if size == "small" else NO_MARK)


def _some_mark(rng: Generator, shape: str) -> str:
    """A mark, a digit where there is room for one, or nothing."""
    lot = rng.random()
    if lot < _MARKED:
        return pick(rng, MARKS)
    return pick(rng, DIGITS) if lot < _MARKED + _NUMBERED and shape in PRINTED else NO_MARK


def _look_alike(rng: Generator, item: SceneObject) -> SceneObject:
    """The same object but for its colour, its shape or what is printed on it."""
    changed = pick(rng, ("colour", "shape", "mark") if item.size == "small" else ("colour", "shape"))
    if changed == "colour":
        return replace(item, colour=another(rng, tuple(COLOURS), item.colour))
    if changed == "mark":
        return replace(item, mark=another(rng, DIGITS if item.mark in DIGITS else MARKS, item.mark))
    return replace(item, shape=another(rng, PRINTED if item.mark in DIGITS else SHAPES, item.shape))


def _with_odd_one_out(rng: Generator, cast: list[SceneObject]) -> list[SceneObject]:
    """All objects of one shape get one colour, but for one of them, where a shape occurs three times."""
    common = [shape for shape in SHAPES if sum(item.shape == shape for item in cast) >= 3]
    if not common:
        return cast
    shape = pick(rng, common)
    same, odd = (str(colour) for colour in rng.choice(tuple(COLOURS), size=2, replace=False))
    members = [i for i, item in enumerate(cast) if item.shape == shape]
    chosen = pick(rng, members)
    return [replace(item, colour=odd if i == chosen else same) if i in members else item for i, item in enumerate(cast)]


def _placed(rng: Generator, cast: list[SceneObject], taken: NDArray[np.bool_]) -> tuple[SceneObject, ...]:
    """The objects in cells of their own, the large ones first and below; one that finds no room is left out."""
    rows, columns = taken.shape
    placed: list[SceneObject] = []
    bare: dict[tuple[int, int], SceneObject] = {}  # cells of large objects that nothing lies on, and whose they are
    for item in sorted(cast, key=lambda item: item.size != "large"):
        span = _SPAN[item.size]
        for attempt in range(_ATTEMPTS):
            near = placed and attempt < 8 and rng.random() < _NEAR
            row, column = _beside(rng, pick(rng, placed)) if near else (int(rng.integers(n)) for n in (rows, columns))
            if not (0 <= row <= rows - span and 0 <= column <= columns - span):
                continue
            block = [(row + j, column + i) for i in range(span) for j in range(span)]
            below = bare.get(block[0]) if span == 1 else None
            if below is not None and below.colour != item.colour and rng.random() < _COVERED:
                bare = {cell: owner for cell, owner in bare.items() if owner != below}
            elif any(taken[cell] for cell in block):
                continue
            x, y = (np.array([column, row]) + span / 2) * CELL + rng.uniform(-_SHIFT, _SHIFT, size=2)
            placed.append(_settled(rng, item, float(x), float(y)))
            if span == 2:
                bare |= dict.fromkeys(block, placed[-1])
            for cell in block:
                taken[cell] = True
            break
    return tuple(placed)


def _beside(rng: Generator, item: SceneObject) -> tuple[int, int]:
    """A cell next to the object's, so that they touch or overlap."""
    row, column = int(item.y // CELL), int(item.x // CELL)
    across, down = pick(rng, ((-1, 0), (1, 0), (0, -1), (0, 1), (1, 1), (-1, 1)))
    return row + down, column + across


def _settled(rng: Generator, item: SceneObject, x: float, y: float) -> SceneObject:
    radius = float(rng.uniform(*_RADII[item.size]))
    angle = float(rng.uniform(-0.15, 0.15))
    return replace(item, x=x, y=y, radius=radius, angle=angle, rgb=jitter(rng, COLOURS[item.colour], 13))


def _sample_background(rng: Generator) -> Background:
    return Background(clutter=int(rng.integers(10, 45)), noise=float(rng.uniform(0, 7)), seed=int(rng.integers(2**31)))
