"""Where the objects are on the grid of image tokens."""

import numpy as np
from numpy.typing import NDArray

from visionflow.scenes.questions import Question
from visionflow.scenes.world import Scene


def object_patches(scene: Scene, index: int, grid: int) -> NDArray[np.bool_]:
    """Patches the object's box touches, bool [grid, grid], on the scene's central square (as a centre crop sees it)."""
    side = min(scene.width, scene.height)
    patch = side / grid
    corner = np.array([(scene.width - side) / 2, (scene.height - side) / 2] * 2)
    left, top, right, bottom = (np.array(scene.objects[index].box) - corner) / patch
    start = np.arange(grid)
    columns = (start < right) & (start + 1 > left)
    rows = (start < bottom) & (start + 1 > top)
    touched: NDArray[np.bool_] = rows[:, None] & columns[None, :]
    return touched


def relevant_patches(scene: Scene, question: Question, grid: int) -> NDArray[np.bool_]:
    """Patches of the objects that the answer rests on, bool [grid, grid]; none where it is that nothing fits."""
    relevant = np.zeros((grid, grid), dtype=np.bool_)
    for index in question.about:
        relevant |= object_patches(scene, index, grid)
    return relevant


def patch_owner(scene: Scene, grid: int) -> NDArray[np.int64]:
    """The object over each patch's centre, int64 [grid, grid]: its index, or -1 on the ground."""
    side = min(scene.width, scene.height)
    centres = (np.arange(grid) + 0.5) * side / grid
    x = centres[None, :] + (scene.width - side) / 2
    y = centres[:, None] + (scene.height - side) / 2
    owner = np.full((grid, grid), -1, dtype=np.int64)
    for index, item in enumerate(scene.objects):
        owner[np.hypot(x - item.x, y - item.y) <= item.radius] = index
    return owner
