"""The scene graph: repeatable, split without overlap, everything where it can be seen."""

import numpy as np
import pytest
from hypothesis import given, settings

from tests.scenes.strategies import CROWDED, NUMBERS, SCENES, SPARSE
from visionflow.scenes import (
    CELL,
    CELLS,
    COLOURS,
    DIGITS,
    FEW,
    MANY,
    MARKS,
    NO_MARK,
    SHAPES,
    SIZES,
    SPLITS,
    Scene,
    sample_scene,
    scene_rng,
)
from visionflow.scenes.world import frequency


@given(NUMBERS)
@settings(max_examples=30, deadline=None)
def test_a_scene_is_decided_by_split_and_number(number: int) -> None:
    assert sample_scene(scene_rng("test", number)) == sample_scene(scene_rng("test", number))


def test_a_scene_is_the_same_on_every_machine() -> None:
    """Weights and tables rest on these very scenes: whoever changes how they are drawn has to make both anew."""
    scene = sample_scene(scene_rng("test", 0))
    assert [item.name for item in scene.objects[:3]] == ["yellow diamond", "white cross", "red diamond"]
    assert scene.background.seed == 1153670575


def test_the_splits_share_no_scene() -> None:
    drawn = [sample_scene(scene_rng(split, number)) for split in SPLITS for number in range(100)]
    assert len(set(drawn)) == 300


@given(SCENES)
@settings(max_examples=60, deadline=None)
def test_attributes_are_known_ones(scene: Scene) -> None:
    for item in scene.objects:
        assert item.shape in SHAPES
        assert item.colour in COLOURS
        assert item.size in SIZES
        assert item.mark in (*MARKS, *DIGITS, NO_MARK)
        assert item.mark == NO_MARK or item.size == "small"
        assert item.name == f"{item.colour} {item.shape}"
        assert min(COLOURS, key=lambda name: np.linalg.norm(np.subtract(COLOURS[name], item.rgb))) == item.colour


@given(CROWDED, SPARSE)
@settings(max_examples=40, deadline=None)
def test_as_many_objects_as_asked_for(crowded: Scene, sparse: Scene) -> None:
    assert MANY[0] <= len(crowded.objects) <= MANY[1]
    assert FEW[0] <= len(sparse.objects) <= FEW[1]


@pytest.mark.parametrize(("columns", "rows"), [(16, 12), (12, 18), (20, 20)])
def test_objects_lie_in_the_central_square(columns: int, rows: int) -> None:
    side = min(columns, rows) * CELL
    for number in range(20):
        scene = sample_scene(scene_rng("test", number), columns=columns, rows=rows)
        assert (scene.width, scene.height) == (columns * CELL, rows * CELL)
        corner = [(columns * CELL - side) / 2, (rows * CELL - side) / 2]
        boxes = np.array([item.box for item in scene.objects]) - [*corner, *corner]
        assert boxes.min() > -CELL / 4
        assert boxes.max() < side + CELL / 4


def test_the_world_is_as_varied_as_it_claims() -> None:
    scenes = [sample_scene(scene_rng("validation", number)) for number in range(100)]
    everything = [item for scene in scenes for item in scene.objects]
    assert {(item.colour, item.shape) for item in everything} == {(c, s) for c in COLOURS for s in SHAPES}
    assert {item.mark for item in everything} == {*MARKS, *DIGITS, NO_MARK}
    assert 0.1 < np.mean([item.size == "large" for item in everything]) < 0.3
    repeats = np.mean([len({item.name for item in scene.objects}) < len(scene.objects) for scene in scenes])
    assert repeats > 0.9, "hardly anything to count"
    assert np.mean([item.x < CELLS * CELL / 2 for item in everything]) == pytest.approx(0.5, abs=0.05)


def test_frequencies_fall_and_add_up() -> None:
    shares = frequency(SHAPES)
    assert shares.sum() == pytest.approx(1)
    assert shares[1] == pytest.approx(shares[0] / 2**0.5)
    assert (np.diff(shares) < 0).all()
