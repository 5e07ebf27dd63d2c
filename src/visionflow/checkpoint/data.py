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

    `pixel_values` [b, 3, side, side]; `input_ids`, `labels`, `meant` and `position_ids` int64 [b, n]: each question's
    positions go on from the picture's, and where a letter is to be said, `meant` has what it stands for.
    `attention_mask` bool [b, 1, n, n]: a question sees the picture and itself.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    meant: torch.Tensor
    pixel_values: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor

    def inputs(self) -> dict[str, torch.Tensor]:
        """Arguments of the model."""
        return {name: value for name, value in vars(self).items() if name not in ("labels", "meant")}


@dataclass(frozen=True)
class Drills(_Movable):
    """Lessons without a picture, one in each row, filled up on the right: `input_ids`, `labels`, `meant` as above."""

    input_ids: torch.Tensor
    labels: torch.Tensor
    meant: torch.Tensor

    def inputs(self) -> dict[str, torch.Tensor]:
        """Arguments of the model."""
        return {"input_ids": self.input_ids}


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
        self.before_text = processor.tokenizer.bos_token + _around(processor)[0]
        # Any picture will do: all are cropped to one size and take as many tokens.
        self.picture: list[int] = processor(images=Image.new("RGB", (1, 1)), text=before)["input_ids"][0]

    def lessons(self, split: Split, indices: Iterable[int], course: Course = FULL) -> Lessons:
        """As many lessons about each of the scenes as there is room for."""
        most = (self.length - len(self.picture)) // _SHORTEST
        drawn = [_scene_with_lessons(scene_rng(split, index), most, course) for index in indices]
        rows = [self._fill(taught) for _, taught in drawn]
        ids, labels, meant, positions, owner = (torch.tensor(column) for column in zip(*rows, strict=True))
        shared = owner == 0
        sees = (owner[:, :, None] == owner[:, None, :]) | shared[:, None, :]
        mask = (sees & torch.ones(self.length, self.length, dtype=torch.bool).tril())[:, None]
        return Lessons(ids, labels, meant, _pixels(self.processor, [scene for scene, _ in drawn]), positions, mask)

    def drills(self, rng: Generator, many: int) -> Drills:
        """So many drills."""
        rows = [self._row(drill(rng), self.before_text) for _ in range(many)]
        fillers = (self.processor.tokenizer.pad_token_id, IGNORED, IGNORED)
        return Drills(
            *(_table(column, filler) for column, filler in zip(zip(*rows, strict=True), fillers, strict=True))
        )

    def _fill(self, taught: Sequence[Lesson]) -> tuple[list[int], ...]:
        """Ids, labels, what is meant, positions, and whose token it is: 0 the picture's, 1, 2, ..., -1 padding."""
        start = len(self.picture)
        ids, labels, meant = list(self.picture), [IGNORED] * start, [IGNORED] * start
        positions, owner = list(range(start)), [0] * start
        for number, lesson in enumerate(taught, start=1):
            row = self._row(lesson)
            size = len(row[0])
            if len(ids) + size > self.length:
                break
            for whole, part in zip((ids, labels, meant), row, strict=True):
                whole += part
            positions += range(start, start + size)
            owner += [number] * size
        left = self.length - len(ids)
        pad = self.processor.tokenizer.pad_token_id
        fillers = (pad, IGNORED, IGNORED, 0, -1)
        columns = (ids, labels, meant, positions, owner)
        return tuple(column + [filler] * left for column, filler in zip(columns, fillers, strict=True))

    def _row(self, lesson: Lesson, before: str = "") -> tuple[list[int], list[int], list[int]]:
        """Ids of a lesson, its labels, and the first token of what is meant where the answer begins."""
        question = self._ids(f"{before}{lesson.prompt}{self.after}")
        answer = self._ids(f" {lesson.answer}{self.processor.tokenizer.eos_token}")
        ignored = [IGNORED] * len(question)
        meant = [IGNORED if lesson.meant is None else self._ids(f" {lesson.meant}")[0]]
        return question + answer, ignored + answer, ignored + meant + [IGNORED] * (len(answer) - 1)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def _around(processor: LlavaProcessor, *picture: dict[str, str]) -> list[str]:
    """The chat template before and after a question."""
    chat = [{"role": "user", "content": [*picture, {"type": "text", "text": _QUESTION}]}]
    around: list[str] = processor.apply_chat_template(chat, add_generation_prompt=True).split(_QUESTION)
    return around


def _table(rows: Sequence[list[int]], filler: int) -> torch.Tensor:
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
