"""The picture of `make demo`: how it was made, and what is right about it."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.scenes.strategies import fitting
from visionflow.scenes import CELL, draw, example_scene

EXAMPLE = Path(__file__).parents[2] / "examples" / "scene.png"


def test_it_is_drawn_by_this_package() -> None:
    """`draw(example_scene(), scale=2).save("examples/scene.png")`."""
    with Image.open(EXAMPLE) as picture:
        assert picture.size == (448, 336)
        assert np.abs(np.asarray(picture).astype(int) - np.asarray(draw(example_scene(), scale=2))).mean() < 0.5


def test_what_is_asked_about_it_has_its_answer_in_a_centre_crop() -> None:
    scene = example_scene()
    red = [scene.objects[i] for i in fitting("red objects", scene)]
    assert len(red) == 3
    assert all(2 * CELL < item.x < scene.width - 2 * CELL for item in red)
