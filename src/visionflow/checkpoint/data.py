"""Training batches, drawn as they are needed: the position in the data is a range of scene numbers and nothing else."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from transformers import LlavaProcessor

from visionflow.scenes import (
    COLOURS,
    SHAPES,
    Question,
    Scene,
    Split,
    draw,
    patch_owner,
    questions,
    sample_scene,
    scene_rng,
    silhouette,
)
from visionflow.scenes.questions import listing
from visionflow.scenes.world import SIZES

IGNORED = -100
"""The label of a position that no loss looks at."""

_LISTING_SHARE = 0.5


@dataclass(frozen=True)
class _Movable:
    """A bundle of tensors that moves to a device as one."""

    def to(self, device: torch.device) -> Self:
        return type(self)(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


@dataclass(frozen=True)
class Patches(_Movable):
    """Pictures with what each patch shows: pixels [b, 3, side, side], the rest [b, patches].

    Shape, colour and size have one more class than the world, the last, for the ground. `row` and `column` give the
    patch of the owner's centre, so that all patches of one object agree; on the ground they are ignored. `filled` is
    float [b, patches, pixels of a patch]: 1 where a pixel belongs to an object.
    """

    pixel_values: torch.Tensor
    shape: torch.Tensor
    colour: torch.Tensor
    size: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor
    filled: torch.Tensor


@dataclass(frozen=True)
class Conversations(_Movable):
    """Several questions and answers about each picture: ids and labels [b, n], padded on the right.

    The padding needs no mask: under a causal mask nothing looks to its right, and its labels are ignored.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor


Drawn = tuple[Scene, Generator]
"""A scene and its random stream, at the point where the questions about it are to be drawn."""


def draw_scenes(split: Split, indices: Iterable[int]) -> list[Drawn]:
    """The scenes with these numbers."""
    streams = [scene_rng(split, index) for index in indices]
    return [(sample_scene(rng), rng) for rng in streams]


def patches(processor: LlavaProcessor, drawn: Sequence[Drawn]) -> Patches:
    """The pictures of the scenes and what every patch of them shows."""
    images = [draw(scene) for scene, _ in drawn]
    pixels: torch.Tensor = processor.image_processor(images, return_tensors="pt").pixel_values
    labels = [_patch_labels(scene, pixels.shape[-1] // processor.patch_size) for scene, _ in drawn]
    columns = {name: torch.from_numpy(np.stack([row[name].ravel() for row in labels])) for name in labels[0]}
    filled = np.stack([_cut(silhouette(scene), processor.patch_size) for scene, _ in drawn])
    return Patches(pixels, **columns, filled=torch.from_numpy(filled))


def conversations(processor: LlavaProcessor, drawn: Sequence[Drawn], turns: int, longest: int) -> Conversations:
    """A conversation of `turns` questions about each of the scenes, cut after `longest` tokens.

    Half of them end in a listing. It comes last, so that no other answer can be read off it instead of the picture.
    """
    chats = []
    for scene, rng in drawn:
        asked = questions(scene, rng, turns)
        if rng.random() < _LISTING_SHARE:
            asked[-2:] = [listing(scene, rng)]
        chats.append(as_chat(asked))
    encoded = processor.tokenizer.apply_chat_template(
        chats,
        chat_template=processor.chat_template,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    rows = [
        _expand(processor, ids, answered)
        for ids, answered in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)
    ]
    length = min(longest, max(len(ids) for ids, _ in rows))
    input_ids = torch.full((len(rows), length), processor.tokenizer.pad_token_id)
    labels = torch.full((len(rows), length), IGNORED)
    for row, (ids, targets) in enumerate(rows):
        input_ids[row, : len(ids)] = torch.tensor(ids[:length])
        labels[row, : len(ids)] = torch.tensor(targets[:length])
    return Conversations(input_ids, labels)


def as_chat(asked: Sequence[Question]) -> list[dict[str, Any]]:
    """Questions and answers as chat messages, the picture in the first of them."""
    messages: list[dict[str, Any]] = []
    for turn, question in enumerate(asked):
        picture = [{"type": "image"}] if turn == 0 else []
        messages.append({"role": "user", "content": [*picture, {"type": "text", "text": question.text}]})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": question.answer}]})
    return messages


def _expand(processor: LlavaProcessor, ids: Sequence[int], answered: Sequence[int]) -> tuple[list[int], list[int]]:
    """Ids with the start token and one placeholder per patch, and their labels: the answers with their end tokens."""
    crop = processor.image_processor.crop_size
    places = (crop["height"] // processor.patch_size) * (crop["width"] // processor.patch_size)
    at = ids.index(processor.image_token_id)
    wide = [processor.tokenizer.bos_token_id, *ids[:at], *[processor.image_token_id] * places, *ids[at + 1 :]]
    targets = [token if inside else IGNORED for token, inside in zip(ids, answered, strict=True)]
    return wide, [IGNORED, *targets[:at], *[IGNORED] * places, *targets[at + 1 :]]


def _cut(pixels: NDArray[np.bool_], patch: int) -> NDArray[np.float32]:
    """A square picture [side, side] cut into its patches, [patches, patch * patch], row by row."""
    grid = len(pixels) // patch
    cut = pixels.reshape(grid, patch, grid, patch).swapaxes(1, 2)
    return cut.reshape(grid * grid, patch * patch).astype(np.float32)


def _patch_labels(scene: Scene, grid: int) -> dict[str, np.ndarray[Any, np.dtype[np.int64]]]:
    owner = patch_owner(scene, grid)
    side = min(scene.width, scene.height)
    colours = tuple(COLOURS)
    # One row per object and a last one for the ground, which owner -1 selects.
    table = np.array(
        [
            (
                SHAPES.index(item.shape),
                colours.index(item.colour),
                SIZES.index(item.size),
                int((item.y - (scene.height - side) / 2) * grid / side),
                int((item.x - (scene.width - side) / 2) * grid / side),
            )
            for item in scene.objects
        ]
        + [(len(SHAPES), len(COLOURS), len(SIZES), IGNORED, IGNORED)],
        dtype=np.int64,
    )
    names = ("shape", "colour", "size", "row", "column")
    return {name: table[owner, column] for column, name in enumerate(names)}
