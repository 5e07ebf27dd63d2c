"""Where the objects are on the grid of image tokens."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from visionflow.scenes.world import CELL, Scene

_SHARE = 0.125


def object_patches(scene: Scene, index: int, grid: int) -> NDArray[np.bool_]:
    """Patches that show the object, bool [grid, grid], on the scene's central square (as a centre crop sees it).

    A patch counts when an eighth of it, or an eighth of the object, is inside the other; the object is taken as the
    square around it.
    """
    side = min(scene.width, scene.height)
    patch = side / grid
    corner = np.array([(scene.width - side) / 2, (scene.height - side) / 2] * 2)
    left, top, right, bottom = (np.array(scene.objects[index].box) - corner) / patch
    start = np.arange(grid)
    across = np.clip(np.minimum(start + 1, right) - np.maximum(start, left), 0, None)
    down = np.clip(np.minimum(start + 1, bottom) - np.maximum(start, top), 0, None)
    shown: NDArray[np.bool_] = np.outer(down, across) > _SHARE * min(1.0, (right - left) * (bottom - top))
    return shown


def relevant_patches(
    scene: Scene, about: Iterable[int], grid: int, cells: Iterable[tuple[int, int]] = ()
) -> NDArray[np.bool_]:
    """Patches of the objects and cells that an answer rests on, bool [grid, grid].

    None where the answer is that nothing fits.
    """
    relevant = np.zeros((grid, grid), dtype=np.bool_)
    for index in about:
        relevant |= object_patches(scene, index, grid)
    for row, column in cells:
        relevant |= _cell_patches(scene, row, column, grid)
    return relevant


def overlapping(cells: NDArray[np.bool_], grid: int) -> NDArray[np.bool_]:
    """The patches, bool [..., grid, grid], that overlap one of the `cells` [..., side, side] of their picture."""
    side = cells.shape[-1]
    patch, cell = np.arange(grid)[:, None], np.arange(side)
    meets = (cell * grid < (patch + 1) * side) & ((cell + 1) * grid > patch * side)
    shared: NDArray[np.bool_] = meets @ cells @ meets.T
    return shared


def _cell_patches(scene: Scene, row: int, column: int, grid: int) -> NDArray[np.bool_]:
    """Patches that share some of the cell."""
    side = min(scene.width, scene.height)
    left, top = column * CELL - (scene.width - side) / 2, row * CELL - (scene.height - side) / 2
    start, patch = np.arange(grid) * side / grid, side / grid
    across, down = ((start < low + CELL) & (start + patch > low) for low in (left, top))
    shown: NDArray[np.bool_] = np.outer(down, across)
    return shown


def patch_owner(scene: Scene, grid: int) -> NDArray[np.int64]:
    """The topmost object over each patch's centre, int64 [grid, grid]: its index, or -1 on the ground."""
    side = min(scene.width, scene.height)
    centres = (np.arange(grid) + 0.5) * side / grid
    x = centres[None, :] + (scene.width - side) / 2
    y = centres[:, None] + (scene.height - side) / 2
    owner = np.full((grid, grid), -1, dtype=np.int64)
    for index, item in enumerate(scene.objects):
        owner[np.hypot(x - item.x, y - item.y) <= item.radius] = index
    return owner
