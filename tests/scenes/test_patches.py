"""Relevant patches: those whose pixels the object makes, found again by drawing the scene without it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from tests.scenes.strategies import SCENES
from visionflow.scenes import (
    CELL,
    CELLS,
    NO_MARK,
    Scene,
    SceneObject,
    draw,
    object_patches,
    patch_owner,
    relevant_patches,
    sample_scene,
    scene_rng,
)


def changed(scene: Scene, index: int, other: SceneObject | None) -> NDArray[np.int64]:
    """How many pixels of each patch of the central square change, [12, 12], when `other` (or nothing) is drawn."""
    objects = (*scene.objects[:index], *([other] if other else []), *scene.objects[index + 1 :])
    before, after = (np.asarray(draw(each)).astype(int) for each in (scene, replace(scene, objects=objects)))
    left, top = (scene.width - CELLS * CELL) // 2, (scene.height - CELLS * CELL) // 2
    differs = (before != after).any(axis=2)[top : top + CELLS * CELL, left : left + CELLS * CELL]
    counts: NDArray[np.int64] = differs.reshape(CELLS, CELL, CELLS, CELL).sum(axis=(1, 3))
    return counts


@pytest.mark.parametrize(("number", "columns", "rows"), [(0, 12, 12), (1, 12, 12), (2, 16, 12), (3, 12, 14)])
def test_relevant_patches_hold_the_objects_pixels(number: int, columns: int, rows: int) -> None:
    scene = sample_scene(scene_rng("test", number), columns=columns, rows=rows)
    # the first are large and may be partly covered, the last are small
    for index in {0, 1, len(scene.objects) - 1}:
        relevant, pixels = object_patches(scene, index, CELLS), changed(scene, index, None)
        assert (pixels[relevant] > 0).all(), "a relevant patch shows nothing of the object"
        assert pixels[relevant].sum() > 0.85 * pixels.sum(), "the object is elsewhere too"


@pytest.mark.parametrize("number", range(4))
def test_a_mark_is_in_a_relevant_patch_only(number: int) -> None:
    scene = sample_scene(scene_rng("validation", number))
    index = next(i for i, item in enumerate(scene.objects) if item.mark != NO_MARK)
    pixels = changed(scene, index, replace(scene.objects[index], mark=NO_MARK))
    relevant = object_patches(scene, index, CELLS)
    assert relevant.sum() == 1
    assert pixels[relevant].sum() == pixels.sum() > 0


@given(SCENES)
@settings(max_examples=60, deadline=None)
def test_few_patches_are_relevant(scene: Scene) -> None:
    """At most three for a small object, and two by two or a little more for a large one."""
    for index, item in enumerate(scene.objects):
        patches = object_patches(scene, index, CELLS)
        assert patches.sum() <= 3 if item.size == "small" else 4 <= patches.sum() <= 6
        assert patches[int(item.y / CELL), int(item.x / CELL)]


@given(SCENES)
@settings(max_examples=30, deadline=None)
def test_on_a_finer_grid_the_patches_are_at_the_same_place(scene: Scene) -> None:
    for index, item in enumerate(scene.objects):
        rows, columns = np.nonzero(object_patches(scene, index, 2 * CELLS))
        assert abs((columns.mean() + 0.5) * CELL / 2 - item.x) < CELL / 2
        assert abs((rows.mean() + 0.5) * CELL / 2 - item.y) < CELL / 2


def test_a_centre_crop_is_followed() -> None:
    narrow = sample_scene(scene_rng("test", 5))
    moved = tuple(replace(item, x=item.x + 2 * CELL) for item in narrow.objects)
    wide = replace(narrow, width=16 * CELL, objects=moved)
    for index in range(len(narrow.objects)):
        assert (object_patches(narrow, index, CELLS) == object_patches(wide, index, CELLS)).all()


@given(SCENES)
@settings(max_examples=20, deadline=None)
def test_relevant_is_the_union(scene: Scene) -> None:
    union = np.any([object_patches(scene, index, CELLS) for index in range(len(scene.objects))], axis=0)
    assert (relevant_patches(scene, range(len(scene.objects)), CELLS) == union).all()
    assert not relevant_patches(scene, (), CELLS).any()


@given(SCENES)
@settings(max_examples=30, deadline=None)
def test_owners(scene: Scene) -> None:
    owner = patch_owner(scene, CELLS)
    for index, item in enumerate(scene.objects):
        owned = owner == index
        assert owned[~object_patches(scene, index, CELLS)].sum() == 0
        assert item.size == "large" or owned.sum() == 1
    assert set(owner.ravel()) <= {-1, *range(len(scene.objects))}
