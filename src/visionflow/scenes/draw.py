"""From a scene to a picture: numpy for the ground, Pillow for the objects."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from visionflow.scenes.world import Background, Scene, SceneObject

_SUPERSAMPLE = 3

# Corners on the unit circle's scale, before turning; the circle is drawn as an ellipse.
_SQUARE = np.array([(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)])
_TRIANGLE = np.array([(0.0, -1.0), (0.92, 0.75), (-0.92, 0.75)])
_STAR_ANGLES = np.arange(10) * np.pi / 5
_STAR_RADII = np.where(np.arange(10) % 2 == 0, 1.0, 0.42)
_STAR = np.stack([_STAR_RADII * np.sin(_STAR_ANGLES), -_STAR_RADII * np.cos(_STAR_ANGLES)], axis=1)
_CORNERS = {"square": _SQUARE, "triangle": _TRIANGLE, "star": _STAR}


def draw(scene: Scene, scale: int = 1) -> Image.Image:
    """The picture, RGB, `width * scale` x `height * scale` pixels; the same scene always gives the same pixels."""
    width, height = scene.width * scale, scene.height * scale
    rng = np.random.default_rng(scene.background.seed)
    ground = Image.fromarray(_ground(scene.background, width, height, rng))
    canvas = ground.resize((width * _SUPERSAMPLE, height * _SUPERSAMPLE), Image.Resampling.NEAREST)
    brush = ImageDraw.Draw(canvas)
    for item in scene.objects:
        _draw_object(brush, item, scale * _SUPERSAMPLE, item.rgb)
    pixels = np.asarray(canvas.reduce(_SUPERSAMPLE), dtype=np.float32)
    noise = rng.normal(0, scene.background.noise, size=pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def silhouette(scene: Scene) -> NDArray[np.bool_]:
    """Which pixels belong to an object, bool [height, width]."""
    canvas = Image.new("1", (scene.width, scene.height))
    brush = ImageDraw.Draw(canvas)
    for item in scene.objects:
        _draw_object(brush, item, 1, fill=1)
    return np.asarray(canvas)


def _draw_object(brush: ImageDraw.ImageDraw, item: SceneObject, scale: int, fill: int | tuple[int, int, int]) -> None:
    if item.shape == "circle":
        brush.ellipse([edge * scale for edge in item.box], fill=fill)
        return
    cos, sin = np.cos(item.angle), np.sin(item.angle)
    turned = _CORNERS[item.shape] @ np.array([[cos, sin], [-sin, cos]])
    corners = (turned * item.radius + (item.x, item.y)) * scale
    brush.polygon([(float(x), float(y)) for x, y in corners], fill=fill)


def _ground(background: Background, width: int, height: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The ground, uint8 [height, width, 3]: the tint plus one texture of the given strength."""
    across = np.linspace(-1, 1, width)[None, :]
    down = np.linspace(-1, 1, height)[:, None]
    slant = rng.uniform(0, 2 * np.pi)
    along = across * np.cos(slant) + down * np.sin(slant)
    if background.texture == "gradient":
        relief = along
    elif background.texture == "stripes":
        relief = np.sin(along * rng.uniform(8, 30))
    elif background.texture == "blotches":
        coarse = Image.fromarray(rng.normal(size=(10, 10)).astype(np.float32))
        relief = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float64)
    else:
        relief = np.zeros((height, width))
    tinted = np.array(background.rgb) + background.strength * relief[:, :, None]
    ground: NDArray[np.uint8] = np.clip(tinted, 0, 255).astype(np.uint8)
    return ground
