"""The picture: what the scene graph says, where it says."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from tests.scenes.strategies import SCENES, SPARSE
from visionflow.scenes import CELL, COLOURS, MARKS, NO_MARK, SHAPES, Scene, SceneObject, draw, sample_scene, scene_rng
from visionflow.scenes.world import Background

GREY = Background(clutter=0, noise=0, seed=0)


def alone(item: SceneObject) -> NDArray[np.float64]:
    """The object in the middle of three by three cells of even grey, [42, 42, 3]."""
    scene = Scene(3 * CELL, 3 * CELL, GREY, (replace(item, x=1.5 * CELL, y=1.5 * CELL),))
    return np.asarray(draw(scene)).astype(float)


def small(shape: str = "circle", colour: str = "red", mark: str = NO_MARK) -> SceneObject:
    return SceneObject(shape, colour, "small", mark, radius=5.8, rgb=COLOURS[colour])


@given(SCENES)
@settings(max_examples=4, deadline=None)
def test_the_same_scene_gives_the_same_pixels(scene: Scene) -> None:
    assert draw(scene).tobytes() == draw(scene).tobytes()


def test_size_and_scale() -> None:
    scene = sample_scene(scene_rng("test", 3), columns=16, rows=12)
    picture = draw(scene, scale=2)
    assert (picture.mode, picture.size) == ("RGB", (448, 336))
    plain = replace(scene, background=GREY, grounds=())
    once = np.asarray(draw(plain)).astype(float)
    twice = np.asarray(draw(plain, scale=2).reduce(2)).astype(float)
    assert np.abs(once - twice).mean() < 2


@given(SPARSE)
@settings(max_examples=6, deadline=None)
def test_objects_have_their_colour(scene: Scene) -> None:
    """In their centres, once the marks there are gone."""
    bare = replace(scene, objects=tuple(replace(item, mark=NO_MARK) for item in scene.objects))
    pixels = np.asarray(draw(bare)).astype(float)
    for item in scene.objects:
        x, y = int(item.x), int(item.y)
        seen = pixels[y - 1 : y + 2, x - 1 : x + 2].mean(axis=(0, 1))
        assert min(COLOURS, key=lambda name: float(np.linalg.norm(seen - COLOURS[name]))) == item.colour


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("colour", COLOURS)
def test_every_colour_of_every_shape_stands_out(shape: str, colour: str) -> None:
    strength = np.abs(alone(small(shape, colour)) - 130).max(axis=2)
    assert (strength > 60).sum() > 30


def test_no_two_shapes_look_alike() -> None:
    pictures = [alone(small(shape)) for shape in SHAPES]
    apart = [np.abs(one - other).mean() for i, one in enumerate(pictures) for other in pictures[:i]]
    assert min(apart) > 1.0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("colour", COLOURS)
def test_every_mark_shows_on_everything_and_looks_like_no_other(shape: str, colour: str) -> None:
    pictures = [alone(small(shape, colour, mark)) for mark in (NO_MARK, *MARKS)]
    for i, one in enumerate(pictures):
        for other in pictures[:i]:
            assert (np.abs(one - other).max(axis=2) > 50).sum() >= 4


@given(SPARSE)
@settings(max_examples=5, deadline=None)
def test_a_removed_object_changes_nothing_but_its_own_pixels(scene: Scene) -> None:
    before = np.asarray(draw(scene)).astype(int)
    gone = scene.objects[-1]
    after = np.asarray(draw(replace(scene, objects=scene.objects[:-1]))).astype(int)
    rows, columns = np.nonzero((before != after).any(axis=2))
    reach = 1.1 * gone.radius + 1
    assert np.abs(columns + 0.5 - gone.x).max() < reach
    assert np.abs(rows + 0.5 - gone.y).max() < reach
