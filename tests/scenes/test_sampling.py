"""Pictures with grounds, signs and objects that touch: everything has its place, and nothing else has it."""

from itertools import combinations

import numpy as np
from hypothesis import given, settings

from tests.scenes.strategies import SCENES
from visionflow.scenes import CELL, CELLS, GROUNDS, Scene, draw, sample_scene, scene_rng
from visionflow.scenes.places import bare_cells, cell_of
from visionflow.scenes.sampling import PRINTED, WORDS
from visionflow.scenes.world import DIGITS


@given(SCENES)
@settings(max_examples=40, deadline=None)
def test_small_objects_and_letters_have_cells_of_their_own(scene: Scene) -> None:
    cells = [cell_of(item) for item in scene.objects if item.size == "small"]
    cells += [cell for sign in scene.signs for cell in sign.cells]
    assert len(set(cells)) == len(cells)
    assert all(0 <= place < CELLS for cell in cells for place in cell)
    assert not set(cells) & set(bare_cells(scene))


@given(SCENES)
@settings(max_examples=40, deadline=None)
def test_every_cell_has_one_ground_and_every_sign_a_word(scene: Scene) -> None:
    for row in range(CELLS):
        for column in range(CELLS):
            assert sum(ground.covers(row, column) for ground in scene.grounds) == 1
    assert {ground.kind for ground in scene.grounds} <= set(GROUNDS)
    assert len({ground.kind for ground in scene.grounds}) == len(scene.grounds)
    assert {sign.word for sign in scene.signs} <= set(WORDS)
    assert len({sign.colour for sign in scene.signs}) == len(scene.signs)


@given(SCENES)
@settings(max_examples=40, deadline=None)
def test_digits_are_printed_where_there_is_room(scene: Scene) -> None:
    assert all(item.shape in PRINTED and item.size == "small" for item in scene.objects if item.mark in DIGITS)


def test_many_objects_touch_and_some_overlap() -> None:
    gaps = []
    for number in range(60):
        scene = sample_scene(scene_rng("train", number))
        for one, other in combinations(scene.objects, 2):
            gaps.append(np.hypot(one.x - other.x, one.y - other.y) - one.radius - other.radius)
    assert sum(gap < 1 for gap in gaps) / 60 > 1
    assert sum(gap < -2 for gap in gaps) / 60 > 0.3


def test_a_picture_is_the_same_again_and_of_every_split_another() -> None:
    pictures = {split: sample_scene(scene_rng(split, 5)) for split in ("train", "validation", "test")}
    assert len({scene.background.seed for scene in pictures.values()}) == 3
    assert sample_scene(scene_rng("test", 5)) == pictures["test"]
    assert np.array_equal(draw(pictures["test"]), draw(pictures["test"]))


def test_what_is_no_object_cannot_be_told_by_its_being_like_the_mean() -> None:
    """Ground and litter differ from the mean patch about as much as patches with objects do."""
    apart: dict[bool, list[float]] = {True: [], False: []}
    for number in range(30):
        scene = sample_scene(scene_rng("train", number))
        pixels = np.asarray(draw(scene), dtype=np.float32).reshape(CELLS, CELL, CELLS, CELL, 3).swapaxes(1, 2)
        patches = pixels.reshape(CELLS, CELLS, -1)
        far = np.linalg.norm(patches - patches.mean((0, 1)), axis=-1)
        bare = set(bare_cells(scene)) | {each.cell for each in scene.litter}
        for row in range(CELLS):
            for column in range(CELLS):
                apart[(row, column) in bare].append(float(far[row, column]))
    assert np.quantile(apart[True], 0.75) > np.quantile(apart[False], 0.25)
