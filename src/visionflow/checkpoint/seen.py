"""What the patches of a picture show: the lessons of the tower."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlavaProcessor

from visionflow.checkpoint.tensors import IGNORED, Movable, pixels
from visionflow.scenes import (
    COLOURS,
    DIGITS,
    GROUNDS,
    LETTERS_DRAWN,
    LITTER,
    MARKS,
    NO_MARK,
    SHAPES,
    SIZES,
    Scene,
    Split,
    draw,
    ground_at,
    patch_owner,
    sample_scene,
    scene_rng,
)

NOTHING = "nothing"
SEEN = {
    "shape": (*SHAPES, *LITTER, "sign", NOTHING),
    "colour": (*COLOURS, NOTHING),
    "size": (*SIZES, NOTHING),
    "mark": (*MARKS, *DIGITS, NO_MARK),
    "letter": tuple(LETTERS_DRAWN),
    "ground": tuple(GROUNDS),
}
"""What a patch shows, and the words for it."""

_CROWD = (10, 70)
_CROWD_SIGNS = (0, 1, 3, 6)


@dataclass(frozen=True)
class Patches(Movable):
    """Pictures and what their patches show: pixels [b, 3, side, side], labels int64 [b, patches].

    `shape`, `colour` and `size` say "nothing" on the bare ground; litter has a shape and a colour. `mark` and `letter`
    are ignored where no object or no letter is, `ground` on signs and large objects. `row` and `column` are the patch's
    own, and `first` is 1 in one patch of each object, by which objects can be counted, and 0 in its others.
    """

    pixel_values: torch.Tensor
    shape: torch.Tensor
    colour: torch.Tensor
    size: torch.Tensor
    mark: torch.Tensor
    letter: torch.Tensor
    ground: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor
    first: torch.Tensor


def patches(processor: LlavaProcessor, split: Split, indices: Iterable[int]) -> Patches:
    """Very crowded pictures, so that every one has much to teach, and what each of their patches shows."""
    scenes = [sample_scene(scene_rng(split, index), _CROWD, signs=_CROWD_SIGNS) for index in indices]
    shown = pixels(processor, [draw(scene) for scene in scenes])
    labels = [_patch_labels(scene, shown.shape[-1] // processor.patch_size) for scene in scenes]
    columns = {name: torch.from_numpy(np.stack([row[name].ravel() for row in labels])) for name in labels[0]}
    return Patches(shown, **columns)


def _patch_labels(scene: Scene, grid: int) -> dict[str, NDArray[np.int64]]:
    """Labels int64 [grid, grid] of everything in `Patches`, on a grid whose patches are the cells of the scene."""
    owner = patch_owner(scene, grid)
    rows = [
        (*(SEEN[name].index(getattr(item, name)) for name in ("shape", "colour", "size", "mark")), 1)
        for item in scene.objects
    ]
    # One row per object and a last one for the ground, which owner -1 selects.
    bare = (*(SEEN[name].index(NOTHING) for name in ("shape", "colour", "size")), IGNORED, IGNORED)
    table = np.array([*rows, bare], dtype=np.int64)
    labels = {name: table[owner, i] for i, name in enumerate(("shape", "colour", "size", "mark", "first"))}
    labels["ground"] = np.array(
        [[SEEN["ground"].index(ground_at(scene.grounds, row, column)) for column in range(grid)] for row in range(grid)]
    )
    labels["ground"][labels["size"] == SIZES.index("large")] = IGNORED
    labels["letter"] = np.full((grid, grid), IGNORED)
    labels["row"], labels["column"] = (axis.astype(np.int64) for axis in np.mgrid[0:grid, 0:grid])
    _only_first(labels["first"], owner)
    for each in scene.litter:
        labels["shape"][each.cell] = SEEN["shape"].index(each.kind)
        labels["colour"][each.cell] = SEEN["colour"].index(each.colour)
        labels["size"][each.cell] = IGNORED
    for sign in scene.signs:
        for letter, cell in zip(sign.word, sign.cells, strict=True):
            said = {"shape": "sign", "colour": sign.colour, "letter": letter}
            for name, word in said.items():
                labels[name][cell] = SEEN[name].index(word)
            for name in ("size", "mark", "ground", "first"):
                labels[name][cell] = IGNORED
    return labels


def _only_first(first: NDArray[np.int64], owner: NDArray[np.int64]) -> None:
    """Of the patches of an object, only the first in reading order keeps the 1."""
    known = owner.ravel() >= 0
    once = np.zeros(owner.size, dtype=np.int64)
    once[np.unique(owner.ravel(), return_index=True)[1]] = 1
    first.ravel()[known] = once[known]
