"""The picture of `make demo`: how it was made, and what is right about it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.scenes.strategies import fitting
from visionflow.scenes import Scene, draw, sample_scene, scene_rng

EXAMPLE = Path(__file__).parents[2] / "examples" / "scene.png"


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Scene 2416 of the test split with six objects, wider than high: a centre crop keeps them all."""
    return sample_scene(scene_rng("test", 2416), between=(6, 6), columns=16, rows=12)


def test_it_is_drawn_by_this_package(scene: Scene) -> None:
    """`draw(scene, scale=2).save("examples/scene.png")`."""
    with Image.open(EXAMPLE) as picture:
        assert picture.size == (448, 336)
        assert np.abs(np.asarray(picture).astype(int) - np.asarray(draw(scene, scale=2))).mean() < 0.5


def test_what_is_on_it(scene: Scene) -> None:
    assert [(item.size, item.name, item.mark) for item in scene.objects] == [
        ("large", "red triangle", "none"),
        ("large", "yellow cross", "none"),
        ("small", "red circle", "slash"),
        ("small", "black circle", "dot"),
        ("small", "orange square", "ring"),
        ("small", "red circle", "slash"),
    ]


@pytest.mark.parametrize(
    ("things", "answer"),
    [
        ("red objects", 3),
        ("circles", 3),
        ("red circles", 2),
        ("objects with a slash", 2),
        ("orange squares", 1),
        ("yellow squares", 0),
    ],
)
def test_how_many(scene: Scene, things: str, answer: int) -> None:
    assert len(fitting(things, scene)) == answer
