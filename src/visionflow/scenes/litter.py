"""Litter: small coloured things that lie about, so that a patch is not told by having something on it.

Without it, image tokens that are unlike the mean one are the objects, and a method that looks at neither question nor
attention finds them. What lies in a cell can be asked for by its place; no count and no caption is about litter.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import ImageDraw

from visionflow.scenes.world import CELL, COLOURS, Litter, jitter, pick

LITTER = ("leaf", "twig", "shell", "seeds", "worm")
"""What lies about."""

_SHARE = (0.3, 0.6)
_SHIFT = 1.5
_RADIUS = (4.2, 5.2)

_ROUND = np.linspace(0, np.pi, 9)
_LINES: dict[str, tuple[list[tuple[float, float]], ...]] = {
    "twig": ([(-1, 0), (1, 0)], [(-0.2, 0), (0.4, -0.8)], [(0.2, 0), (0.7, 0.7)]),
    "worm": ([(t / 4, 0.55 * float(np.sin(t * 1.6))) for t in range(-4, 5)],),
}
_AREAS: dict[str, list[tuple[float, float]]] = {
    "leaf": [(float(-np.cos(t)), side * 0.5 * float(np.sin(t))) for side in (1, -1) for t in _ROUND[::side]],
    "shell": [(float(np.cos(t)), 0.5 - 1.1 * float(np.sin(t))) for t in _ROUND],
}
_SEEDS = ((-0.65, -0.4), (0.65, -0.3), (0.0, 0.65))


def sample_litter(rng: Generator, taken: NDArray[np.bool_]) -> tuple[Litter, ...]:
    """Litter in three to six tenths of the cells that nothing is in; `taken` is bool [rows, columns]."""
    share = rng.uniform(*_SHARE)
    strewn = ~taken & (rng.random(taken.shape) < share)
    return tuple(_dropped(rng, int(row), int(column)) for row, column in np.argwhere(strewn))


def draw_litter(brush: ImageDraw.ImageDraw, item: Litter, scale: int) -> None:
    """Lines or areas in its colour, turned as it lies."""
    cos, sin = np.cos(item.angle), np.sin(item.angle)

    def points(corners: list[tuple[float, float]]) -> list[tuple[float, float]]:
        turned = np.array(corners) @ np.array([[cos, sin], [-sin, cos]])
        return [(float(x), float(y)) for x, y in (turned * item.radius + (item.x, item.y)) * scale]

    for line in _LINES.get(item.kind, ()):
        brush.line(points(line), fill=item.rgb, width=round(1.3 * scale), joint="curve")
    if item.kind in _AREAS:
        brush.polygon(points(_AREAS[item.kind]), fill=item.rgb)
    if item.kind == "seeds":
        size = 0.36 * item.radius * scale
        for x, y in points(list(_SEEDS)):
            brush.ellipse([x - size, y - size, x + size, y + size], fill=item.rgb)


def _dropped(rng: Generator, row: int, column: int) -> Litter:
    colour = pick(rng, tuple(COLOURS))
    x, y = (np.array([column, row]) + 0.5) * CELL + rng.uniform(-_SHIFT, _SHIFT, size=2)
    radius, angle = float(rng.uniform(*_RADIUS)), float(rng.uniform(-0.5, 0.5))
    return Litter(pick(rng, LITTER), colour, float(x), float(y), radius, angle, jitter(rng, COLOURS[colour], 13))
