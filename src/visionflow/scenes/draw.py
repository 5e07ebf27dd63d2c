"""From a scene to a picture: numpy for the ground, Pillow for what stands on it."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from visionflow.scenes.glyphs import HEIGHT, WIDTH, glyph
from visionflow.scenes.ground import paint
from visionflow.scenes.litter import draw_litter
from visionflow.scenes.world import CELL, COLOURS, DIGITS, Scene, SceneObject, Sign

_SUPERSAMPLE = 3
_GREY = 130
_OUTLINE = 0.45
_MARK_WIDTH = 0.3

# Corners on the unit circle's scale, before turning; the circle is drawn as an ellipse.
_STAR_ANGLES = np.arange(10) * np.pi / 5
_STAR_RADII = np.where(np.arange(10) % 2 == 0, 1.05, 0.5)
_CORNERS = {
    "square": np.array([(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]),
    "triangle": np.array([(0.0, -1.0), (1.0, 0.8), (-1.0, 0.8)]),
    "star": np.stack([_STAR_RADII * np.sin(_STAR_ANGLES), -_STAR_RADII * np.cos(_STAR_ANGLES)], axis=1),
    "diamond": np.array([(0.0, -1.05), (0.8, 0.0), (0.0, 1.05), (-0.8, 0.0)]),
    "cross": np.array(
        [
            *((-0.36, -1.0), (0.36, -1.0), (0.36, -0.36), (1.0, -0.36), (1.0, 0.36), (0.36, 0.36)),
            *((0.36, 1.0), (-0.36, 1.0), (-0.36, 0.36), (-1.0, 0.36), (-1.0, -0.36), (-0.36, -0.36)),
        ]
    ),
}


def draw(scene: Scene, scale: int = 1) -> Image.Image:
    """The picture, RGB, `width * scale` x `height * scale` pixels; the same scene always gives the same pixels."""
    width, height = scene.width * scale, scene.height * scale
    rng = np.random.default_rng(scene.background.seed)
    ground = Image.fromarray(_ground(scene, scale, rng))
    canvas = ground.resize((width * _SUPERSAMPLE, height * _SUPERSAMPLE), Image.Resampling.NEAREST)
    brush = ImageDraw.Draw(canvas)
    _strew(brush, scene, scale * _SUPERSAMPLE, rng)
    for each in scene.litter:
        draw_litter(brush, each, scale * _SUPERSAMPLE)
    for item in scene.objects:
        _draw_object(brush, item, scale * _SUPERSAMPLE)
        _draw_mark(brush, item, scale * _SUPERSAMPLE)
    for sign in scene.signs:
        _draw_sign(brush, sign, scale * _SUPERSAMPLE)
    pixels = np.asarray(canvas.reduce(_SUPERSAMPLE), dtype=np.float32)
    noise = rng.standard_normal(pixels.shape, dtype=np.float32) * scene.background.noise
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def _draw_object(brush: ImageDraw.ImageDraw, item: SceneObject, scale: int) -> None:
    """Its shape with a darker rim (a lighter one where it is dark), so that it shows on an object of its own colour."""
    dark = sum(item.rgb) < 120
    rim = (96, 96, 96) if dark else tuple(int(value * _OUTLINE) for value in item.rgb)
    if item.shape == "circle":
        brush.ellipse([edge * scale for edge in item.box], fill=item.rgb, outline=rim, width=scale // 2)
        return
    cos, sin = np.cos(item.angle), np.sin(item.angle)
    turned = _CORNERS[item.shape] @ np.array([[cos, sin], [-sin, cos]])
    corners = [(float(x), float(y)) for x, y in (turned * item.radius + (item.x, item.y)) * scale]
    brush.polygon(corners, fill=item.rgb)
    brush.line([*corners, corners[0]], fill=rim, width=scale // 2, joint="curve")


def _draw_mark(brush: ImageDraw.ImageDraw, item: SceneObject, scale: int) -> None:
    """A small print in black or white ink, whichever stands out, around the object's centre."""
    ink = _ink(item.rgb)
    # A triangle's room is below its centre.
    x, y = item.x * scale, (item.y + (0.2 * item.radius if item.shape == "triangle" else 0)) * scale
    reach, width = 0.5 * item.radius * scale, max(1, round(_MARK_WIDTH * item.radius * scale))
    if item.mark == "dot":
        brush.ellipse([x - width, y - width, x + width, y + width], fill=ink)
    elif item.mark == "ring":
        brush.ellipse([x - reach, y - reach, x + reach, y + reach], outline=ink, width=round(0.6 * width))
    elif item.mark == "bar":
        brush.line([x - reach, y, x + reach, y], fill=ink, width=width)
    elif item.mark == "slash":
        brush.line([x - 0.8 * reach, y + 0.8 * reach, x + 0.8 * reach, y - 0.8 * reach], fill=ink, width=width)
    elif item.mark in DIGITS:
        _print(brush, item.mark, x, y, scale, ink)


def _draw_sign(brush: ImageDraw.ImageDraw, sign: Sign, scale: int) -> None:
    """A plate with a rim, and one letter in the middle of each of its cells."""
    side = CELL * scale
    left, top = sign.column * side, sign.row * side
    ink = _ink(sign.rgb)
    right, bottom = left + len(sign.word) * side - 1, top + side - 1
    brush.rectangle(
        [left + scale, top + scale, right - scale, bottom - scale], fill=sign.rgb, outline=ink, width=scale // 2
    )
    for number, letter in enumerate(sign.word):
        _print(brush, letter, left + (number + 0.5) * side, top + side / 2, scale * 4 // 3, ink)


def _print(brush: ImageDraw.ImageDraw, character: str, x: float, y: float, dot: int, ink: tuple[int, int, int]) -> None:
    """A digit or letter around a point, its dots so many pixels wide."""
    left, top = round(x - WIDTH * dot / 2), round(y - HEIGHT * dot / 2)
    for row, column in np.argwhere(glyph(character)):
        across, down = left + int(column) * dot, top + int(row) * dot
        brush.rectangle([across, down, across + dot - 1, down + dot - 1], fill=ink)


def _ink(rgb: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever stands out."""
    red, green, blue = rgb
    return (0, 0, 0) if 0.3 * red + 0.59 * green + 0.11 * blue > 110 else (255, 255, 255)


def _strew(brush: ImageDraw.ImageDraw, scene: Scene, scale: int, rng: Generator) -> None:
    """Specks and scraps in the colours of objects, too small to be one."""
    tints = list(COLOURS.values())
    for _ in range(scene.background.clutter):
        fill = tints[int(rng.integers(len(tints)))]
        x, y = rng.uniform(0, (scene.width, scene.height)) * scale
        size = rng.uniform(0.8, 2.0) * scale
        if rng.random() < 0.6:
            brush.ellipse([x - size, y - size, x + size, y + size], fill=fill)
        else:
            dx, dy = rng.uniform(-7, 7, size=2) * scale
            brush.line([x, y, x + dx, y + dy], fill=fill, width=scale)


def _ground(scene: Scene, scale: int, rng: Generator) -> NDArray[np.uint8]:
    """The grounds, uint8 [height, width, 3], on grey."""
    canvas = np.full((scene.height * scale, scene.width * scale, 3), _GREY, dtype=np.float32)
    paint(scene.grounds, canvas, scale, rng)
    ground: NDArray[np.uint8] = np.clip(canvas, 0, 255).astype(np.uint8)
    return ground
