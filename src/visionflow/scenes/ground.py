"""The ground: what a picture stands on, in patches of several kinds that can be told apart and asked for."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from visionflow.scenes.world import CELL, Ground, pick

GROUNDS: dict[str, tuple[int, int, int]] = {
    "grass": (102, 128, 92),
    "sand": (178, 162, 124),
    "water": (92, 116, 148),
    "brick": (150, 104, 92),
    "wood": (140, 114, 86),
    "stone": (130, 130, 132),
}
"""Muted tints, so that every colour of an object stands out."""

_TINT = 12
_STRENGTH = 20.0
_ONE, _TWO = 0.15, 0.65


def sample_grounds(rng: Generator, columns: int, rows: int) -> tuple[Ground, ...]:
    """One kind everywhere, two side by side or one above the other, or four quarters of different kinds."""
    down, across = (int(rng.integers(side // 3, side - side // 3 + 1)) for side in (rows, columns))
    lot = rng.random()
    if lot < _ONE:
        boxes = [(0, 0, rows, columns)]
    elif lot < (_ONE + _TWO) / 2:
        boxes = [(0, 0, down, columns), (down, 0, rows, columns)]
    elif lot < _TWO:
        boxes = [(0, 0, rows, across), (0, across, rows, columns)]
    else:
        boxes = [
            (0, 0, down, across),
            (0, across, down, columns),
            (down, 0, rows, across),
            (down, across, rows, columns),
        ]
    kinds = [str(kind) for kind in rng.permutation(list(GROUNDS))]
    return tuple(Ground(kind, *box, rgb=_tint(rng, kind)) for kind, box in zip(kinds, boxes, strict=False))


def ground_at(grounds: tuple[Ground, ...], row: int, column: int) -> str:
    """The kind of ground in a cell."""
    return next(ground.kind for ground in grounds if ground.covers(row, column))


def paint(grounds: tuple[Ground, ...], canvas: NDArray[np.float32], scale: int, rng: Generator) -> None:
    """Paint each ground into `canvas`, float32 [height, width, 3]."""
    side = CELL * scale
    for ground in grounds:
        part = canvas[ground.top * side : ground.bottom * side, ground.left * side : ground.right * side]
        relief = _relief(ground.kind, part.shape[0], part.shape[1], scale, rng)
        part[:] = np.array(ground.rgb, dtype=np.float32) + _STRENGTH * relief[:, :, None]


def _relief(kind: str, height: int, width: int, scale: int, rng: Generator) -> NDArray[np.float32]:
    """Light and dark of a texture, float32 [height, width], about -1 to 1."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / scale
    if kind == "grass":  # blades: noise that is long and thin
        grain = rng.standard_normal((height // 4 + 1, width), dtype=np.float32)
        return 0.7 * np.repeat(grain, 4, axis=0)[:height]
    if kind == "sand":  # grains
        return 0.7 * rng.standard_normal((height, width), dtype=np.float32)
    if kind == "water":  # waves
        waves: NDArray[np.float32] = np.sin(y * 1.3 + 1.5 * np.sin(x * 0.35 + rng.uniform(0, 6)) + rng.uniform(0, 6))
        return waves
    if kind == "brick":  # courses of bricks, each shifted by half of one
        course = y // 5
        joint = (y % 5 < 1) | ((x + 5 * (course % 2)) % 10 < 1)
        return np.where(joint, np.float32(1.3), np.float32(-0.3))
    if kind == "wood":  # boards along the grain
        grain = np.sin(x * 0.9 + 0.8 * np.sin(y * 0.2 + rng.uniform(0, 6)))
        return np.where(x % 12 < 1, np.float32(-1.6), grain.astype(np.float32))
    cells = rng.standard_normal((height // (5 * scale) + 2, width // (5 * scale) + 2), dtype=np.float32)
    return 0.9 * np.kron(cells, np.ones((5 * scale, 5 * scale), dtype=np.float32))[:height, :width]


def _tint(rng: Generator, kind: str) -> tuple[int, int, int]:
    red, green, blue = np.array(GROUNDS[kind]) + rng.integers(-_TINT, _TINT + 1) + rng.integers(-5, 6, size=3)
    return int(red), int(green), int(blue)


def some_ground(rng: Generator) -> str:
    """Any kind."""
    return pick(rng, list(GROUNDS))
