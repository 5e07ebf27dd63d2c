"""Training batches, drawn as they are needed: the position in the data is a range of scene numbers and nothing else."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from torch.nn.utils.rnn import pad_sequence
from transformers import LlavaProcessor

from visionflow.scenes import (
    COLOURS,
    FULL,
    MARKS,
    NO_MARK,
    SHAPES,
    SIZES,
    Course,
    Lesson,
    Scene,
    Split,
    draw,
    drill,
    lessons,
    patch_owner,
    sample_scene,
    scene_rng,
)

IGNORED = -100
"""The label of a position that no loss looks at."""

SEEN = {"shape": SHAPES, "colour": tuple(COLOURS), "size": SIZES, "mark": (*MARKS, NO_MARK)}
"""What a patch of an object shows, and the words for it."""

_CROWD = (10, 90)
_QUESTION = "\0"
_SHORTEST = 12
"""Tokens of a short lesson: what fits of them is all that need be made."""


@dataclass(frozen=True)
class _Movable:
    """A bundle of tensors that moves to a device as one."""

    def to(self, device: torch.device) -> Self:
        return type(self)(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


@dataclass(frozen=True)
class Patches(_Movable):
    """Pictures and what their patches show: pixels [b, 3, side, side], labels int64 [b, patches].

    The first three have one more class than there are words, the last, for the ground. `mark`, `row` and `column` (of
    the patch of the owner's centre, so that all patches of one object agree) are ignored there.
    """

    pixel_values: torch.Tensor
    shape: torch.Tensor
    colour: torch.Tensor
    size: torch.Tensor
    mark: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor


@dataclass(frozen=True)
class Lessons(_Movable):
    """Several lessons about each picture, side by side: the picture once, then every question as if it were the only.

    `pixel_values` [b, 3, side, side]; `input_ids`, `labels` and `position_ids` int64 [b, n]: each question's positions
    go on from the picture's. `attention_mask` bool [b, 1, n, n]: a question sees the picture and itself.
    """

    pixel_values: torch.Tensor
    input_ids: torch.Tensor
    labels: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor


@dataclass(frozen=True)
class Drills(_Movable):
    """Lessons without a picture, one in each row, filled up on the right: `input_ids`, `labels` int64 [b, n]."""

    input_ids: torch.Tensor
    labels: torch.Tensor


def patches(processor: LlavaProcessor, split: Split, indices: Iterable[int]) -> Patches:
    """Very crowded pictures, so that every one has much to teach, and what each of their patches shows."""
    scenes = [sample_scene(scene_rng(split, index), _CROWD) for index in indices]
    pixels = _pixels(processor, scenes)
    labels = [_patch_labels(scene, pixels.shape[-1] // processor.patch_size) for scene in scenes]
    columns = {name: torch.from_numpy(np.stack([row[name].ravel() for row in labels])) for name in labels[0]}
    return Patches(pixels, **columns)


class Teacher:
    """Makes batches of lessons for one processor; `length` is the tokens per picture, the picture's own included."""

    def __init__(self, processor: LlavaProcessor, length: int) -> None:
        self.processor = processor
        self.length = length
        before, self.after = _around(processor, {"type": "image"})
        self.before_text, _ = _around(processor)
        # Any picture will do: all are cropped to one size and take as many tokens.
        self.picture: list[int] = processor(images=Image.new("RGB", (1, 1)), text=before)["input_ids"][0]

    def lessons(self, split: Split, indices: Iterable[int], course: Course = FULL) -> Lessons:
        """As many lessons about each of the scenes as there is room for."""
        most = (self.length - len(self.picture)) // _SHORTEST
        drawn = [_scene_with_lessons(scene_rng(split, index), most, course) for index in indices]
        rows = [self._fill(taught) for _, taught in drawn]
        ids, labels, positions, owner = (torch.tensor(column) for column in zip(*rows, strict=True))
        shared = owner == 0
        sees = (owner[:, :, None] == owner[:, None, :]) | shared[:, None, :]
        mask = (sees & torch.ones(self.length, self.length, dtype=torch.bool).tril())[:, None]
        return Lessons(_pixels(self.processor, [scene for scene, _ in drawn]), ids, labels, positions, mask)

    def drills(self, rng: Generator, many: int) -> Drills:
        """So many drills."""
        drawn = [drill(rng) for _ in range(many)]
        asked = self.processor.tokenizer([f"{self.before_text}{each.prompt}{self.after}" for each in drawn])[
            "input_ids"
        ]
        answered = self._answers(drawn)
        rows = [question + answer for question, answer in zip(asked, answered, strict=True)]
        labels = [[IGNORED] * len(question) + answer for question, answer in zip(asked, answered, strict=True)]
        return Drills(_table(rows, self.processor.tokenizer.pad_token_id), _table(labels, IGNORED))

    def _fill(self, taught: Sequence[Lesson]) -> tuple[list[int], list[int], list[int], list[int]]:
        """Ids, labels, positions, and whose token it is: 0 the picture's, then 1, 2, ... and -1 for padding."""
        asked = self._ids([f"{lesson.prompt}{self.after}" for lesson in taught])
        answered = self._answers(taught)
        ids, labels = list(self.picture), [IGNORED] * len(self.picture)
        positions, owner = list(range(len(ids))), [0] * len(ids)
        for number, (question, answer) in enumerate(zip(asked, answered, strict=True), start=1):
            size = len(question) + len(answer)
            if len(ids) + size > self.length:
                break
            ids += question + answer
            labels += [IGNORED] * len(question) + answer
            positions += range(len(self.picture), len(self.picture) + size)
            owner += [number] * size
        left = self.length - len(ids)
        pad = self.processor.tokenizer.pad_token_id
        return ids + [pad] * left, labels + [IGNORED] * left, positions + [0] * left, owner + [-1] * left

    def _answers(self, taught: Sequence[Lesson]) -> list[list[int]]:
        return self._ids([f" {lesson.answer}{self.processor.tokenizer.eos_token}" for lesson in taught])

    def _ids(self, texts: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self.processor.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return ids


def _around(processor: LlavaProcessor, *picture: dict[str, str]) -> list[str]:
    """The chat template before and after a question."""
    chat = [{"role": "user", "content": [*picture, {"type": "text", "text": _QUESTION}]}]
    around: list[str] = processor.apply_chat_template(chat, add_generation_prompt=True).split(_QUESTION)
    return around


def _table(rows: list[list[int]], filler: int) -> torch.Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=filler)


def _scene_with_lessons(rng: Generator, most: int, course: Course) -> tuple[Scene, list[Lesson]]:
    scene = sample_scene(rng, course.between)
    return scene, lessons(scene, rng, most, course)


def _pixels(processor: LlavaProcessor, scenes: Sequence[Scene]) -> torch.Tensor:
    pixels: torch.Tensor = processor.image_processor(
        [draw(scene) for scene in scenes], return_tensors="pt"
    ).pixel_values
    return pixels


def _patch_labels(scene: Scene, grid: int) -> dict[str, NDArray[np.int64]]:
    owner = patch_owner(scene, grid)
    side = min(scene.width, scene.height)
    # One row per object and a last one for the ground, which owner -1 selects.
    table = np.array(
        [
            (
                *(words.index(getattr(item, name)) for name, words in SEEN.items()),
                int((item.y - (scene.height - side) / 2) * grid / side),
                int((item.x - (scene.width - side) / 2) * grid / side),
            )
            for item in scene.objects
        ]
        + [(len(SHAPES), len(COLOURS), len(SIZES), IGNORED, IGNORED, IGNORED)],
        dtype=np.int64,
    )
    return {name: table[owner, column] for column, name in enumerate((*SEEN, "row", "column"))}
