"""Training batches, drawn as they are needed: the position in the data is a range of scene numbers and nothing else."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from transformers import LlavaProcessor

from visionflow.checkpoint.attention import CHUNK
from visionflow.scenes import (
    COLOURS,
    DIGITS,
    GROUNDS,
    LETTERS_DRAWN,
    MARKS,
    NO_MARK,
    SHAPES,
    SIZES,
    Course,
    Lesson,
    Scene,
    Split,
    draw,
    ground_at,
    lessons,
    patch_owner,
    sample_picture,
    scene_rng,
    shared_lessons,
)

IGNORED = -100
"""The label of a position that no loss looks at."""

NOTHING = "nothing"
SEEN = {
    "shape": (*SHAPES, "sign", NOTHING),
    "colour": (*COLOURS, NOTHING),
    "size": (*SIZES, NOTHING),
    "mark": (*MARKS, *DIGITS, NO_MARK),
    "letter": tuple(LETTERS_DRAWN),
    "ground": tuple(GROUNDS),
}
"""What a patch shows, and the words for it."""

_CROWD = (10, 70)
_CROWD_SIGNS = (0, 1, 3, 6)
_SHORTEST = 13
"""Tokens of a short lesson: what fits of them is all that need be made."""


@dataclass(frozen=True)
class _Movable:
    """A bundle of tensors that moves to a device as one."""

    def to(self, device: torch.device) -> Self:
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return replace(self, **moved)


@dataclass(frozen=True)
class Patches(_Movable):
    """Pictures and what their patches show: pixels [b, 3, side, side], labels int64 [b, patches].

    `shape`, `colour` and `size` say "nothing" on the bare ground; `mark` and `letter` are ignored where no object or no
    letter is, `ground` on signs and large objects. `row` and `column` are the patch's own, and `first` is 1 in one
    patch of each object, by which objects can be counted, and 0 in its others.
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


@dataclass(frozen=True)
class Lessons(_Movable):
    """Rows of lessons side by side: one or two pictures first, then each lesson as if it were the only one.

    The lessons begin at `start` and lie in chunks of `CHUNK` tokens, none of them in two.

    `pixel_values` [pictures, 3, side, side]; `input_ids`, `labels`, `meant` and `position_ids` int64 [b, n]: each
    lesson's positions go on from the pictures', and where a letter is to be said, `meant` has what it stands for.
    `sees` bool [b, n, n]: a lesson sees the pictures, or what is left of them, and itself. `owner` int64
    [b, n] says whose token it is: 0 the pictures', 1, 2, ... a lesson's, -1 padding; `kinds` are those of the lessons.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    meant: torch.Tensor
    pixel_values: torch.Tensor
    position_ids: torch.Tensor
    sees: torch.Tensor
    owner: torch.Tensor
    kinds: tuple[tuple[str, ...], ...]
    start: int

    def inputs(self) -> dict[str, torch.Tensor]:
        """Arguments of the model, but for who sees whom."""
        return {name: getattr(self, name) for name in ("input_ids", "pixel_values", "position_ids")}


@dataclass(frozen=True)
class Hiding:
    """How often patches that do not matter are hidden: from a lesson, or from a whole row, its pictures included."""

    lesson: float = 0.3
    row: float = 0.1


def patches(processor: LlavaProcessor, split: Split, indices: Iterable[int]) -> Patches:
    """Very crowded pictures, so that every one has much to teach, and what each of their patches shows."""
    scenes = [sample_picture(scene_rng(split, index), _CROWD, signs=_CROWD_SIGNS) for index in indices]
    pixels = _pixels(processor, scenes)
    labels = [_patch_labels(scene, pixels.shape[-1] // processor.patch_size) for scene in scenes]
    columns = {name: torch.from_numpy(np.stack([row[name].ravel() for row in labels])) for name in labels[0]}
    return Patches(pixels, **columns)


class Teacher:
    """Makes batches of lessons for one processor; a row is one or two pictures and so many chunks of lessons."""

    def __init__(self, processor: LlavaProcessor, chunks: int) -> None:
        self.processor = processor
        self.chunks = chunks
        self.after = _around(processor, 1)[1]
        self.again = "USER: "
        # Any picture will do: all are cropped to one size and take as many tokens.
        self.prefixes = [self._prefix(pictures) for pictures in (1, 2)]
        self._ids = lru_cache(100_000)(self._encode)

    def lessons(
        self, split: Split, indices: Iterable[int], course: Course, pictures: int = 1, hiding: Hiding | None = None
    ) -> Lessons:
        """A row for each index, each about so many pictures, with as many lessons as there is room for."""
        rows = [self._row(scene_rng(split, index), course, pictures, hiding) for index in indices]
        arrays = {
            name: torch.from_numpy(np.stack([getattr(row, name) for row in rows]))
            for name in ("input_ids", "labels", "meant", "position_ids", "sees", "owner")
        }
        return Lessons(
            pixel_values=_pixels(self.processor, [scene for row in rows for scene in row.scenes]),
            kinds=tuple(row.kinds for row in rows),
            start=len(self.prefixes[pictures - 1]),
            **arrays,
        )

    def _row(self, rng: Generator, course: Course, pictures: int, hiding: Hiding | None) -> "_Row":
        most = self.chunks * CHUNK // _SHORTEST
        scenes = tuple(sample_picture(rng, course.between) for _ in range(pictures))
        taught = shared_lessons(scenes, rng, most) if len(scenes) == 2 else lessons(scenes[0], rng, most, course)
        return self._filled(scenes, taught, hiding, rng)

    def _filled(
        self, scenes: tuple[Scene, ...], taught: Sequence[Lesson], hiding: Hiding | None, rng: Generator
    ) -> "_Row":
        """As many of the lessons as fit, behind the pictures."""
        prefix = self.prefixes[len(scenes) - 1]
        start = len(prefix)
        size = start + self.chunks * CHUNK
        ids = np.full(size, self.processor.tokenizer.pad_token_id)
        labels, meant = np.full(size, IGNORED), np.full(size, IGNORED)
        positions, owner = np.zeros(size, dtype=np.int64), np.full(size, -1)
        ids[:start], positions[:start], owner[:start] = prefix, np.arange(start), 0
        room, held = [CHUNK] * self.chunks, []
        for lesson in taught:
            told, asked, stands = self._told(lesson)
            chunk = next((i for i, left in enumerate(room) if len(told) <= left), None)
            if chunk is None:
                continue
            held.append(lesson)
            at = start + (chunk + 1) * CHUNK - room[chunk]
            end = at + len(told)
            room[chunk] -= len(told)
            ids[at:end], labels[at:end], meant[at:end] = told, asked, stands
            positions[at:end], owner[at:end] = np.arange(start, start + len(told)), len(held)
        sees = _sees(owner)
        if hiding is not None:
            _hide(sees, owner, np.flatnonzero(ids[:start] == self.processor.image_token_id), held, hiding, rng)
        return _Row(scenes, ids, labels, meant, positions, owner, sees, tuple(lesson.kind for lesson in held))

    def _told(self, lesson: Lesson) -> tuple[list[int], list[int], list[int]]:
        """Ids of a conversation, its labels, and the first token of what is meant where a letter is to be said."""
        ids: list[int] = []
        labels: list[int] = []
        meant: list[int] = []
        for number, turn in enumerate(lesson.turns):
            question = self._ids(f"{self.again if number else ''}{turn.prompt}{self.after}")
            answer = self._ids(f" {turn.answer}{self.processor.tokenizer.eos_token}")
            ids += [*question, *answer]
            labels += [IGNORED] * len(question) + [*answer]
            meant += [IGNORED] * (len(question) + len(answer))
            if turn.meant is not None:
                meant[-len(answer)] = self._ids(f" {turn.meant}")[0]
        return ids, labels, meant

    def _prefix(self, pictures: int) -> list[int]:
        text = _around(self.processor, pictures)[0]
        blank = [Image.new("RGB", (1, 1))] * pictures
        ids: list[int] = self.processor(images=blank, text=text)["input_ids"][0]
        return ids

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.processor.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        return ids


@dataclass(frozen=True)
class _Row:
    """One row of a batch: all arrays have the row's length, `sees` is bool [length, length]."""

    scenes: tuple[Scene, ...]
    input_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    meant: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    owner: NDArray[np.int64]
    sees: NDArray[np.bool_]
    kinds: tuple[str, ...]


def _sees(owner: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Who sees whom: the pictures are seen by all, a lesson by itself, and nobody sees what comes later."""
    seen: NDArray[np.bool_] = np.tril((owner[:, None] == owner) | (owner == 0))
    return seen


def _hide(
    sees: NDArray[np.bool_],
    owner: NDArray[np.int64],
    image: NDArray[np.int64],
    held: Sequence[Lesson],
    hiding: Hiding,
    rng: Generator,
) -> None:
    """Hide patches (columns `image`) that no answer rests on, some or all of them, as a pruned model will miss them."""
    if held and rng.random() < hiding.row:
        needed = np.stack([lesson.shown.ravel() for lesson in held]).any(0)
        lost = image[~needed & (rng.random(len(image)) > rng.random())]
        kept = sees.diagonal().copy()
        sees[:, lost] = False
        np.fill_diagonal(sees, kept)
        return
    for number, lesson in enumerate(held, start=1):
        if rng.random() < hiding.lesson:
            lost = image[~lesson.shown.ravel() & (rng.random(len(image)) > rng.random())]
            sees[np.ix_(np.flatnonzero(owner == number), lost)] = False


def _around(processor: LlavaProcessor, pictures: int) -> list[str]:
    """The chat template before and after a question."""
    question = "\0"
    content = [*({"type": "image"},) * pictures, {"type": "text", "text": question}]
    chat = [{"role": "user", "content": content}]
    around: list[str] = processor.apply_chat_template(chat, add_generation_prompt=True).split(question)
    return around


def _pixels(processor: LlavaProcessor, scenes: Sequence[Scene]) -> torch.Tensor:
    pixels: torch.Tensor = processor.image_processor(
        [draw(scene) for scene in scenes], return_tensors="pt"
    ).pixel_values
    return pixels


def _patch_labels(scene: Scene, grid: int) -> dict[str, NDArray[np.int64]]:
    """Labels int64 [grid, grid] of everything in `Patches`, on a grid whose patches are the cells of the scene."""
    owner = patch_owner(scene, grid)
    rows = [
        (*(SEEN[name].index(getattr(item, name)) for name in ("shape", "colour", "size", "mark")), 1)
        for item in scene.objects
    ]
    # One row per object and a last one for the ground, which owner -1 selects.
    bare = (len(SHAPES) + 1, len(COLOURS), len(SIZES), IGNORED, IGNORED)
    table = np.array([*rows, bare], dtype=np.int64)
    labels = {name: table[owner, i] for i, name in enumerate(("shape", "colour", "size", "mark", "first"))}
    labels["ground"] = np.array(
        [[SEEN["ground"].index(ground_at(scene.grounds, row, column)) for column in range(grid)] for row in range(grid)]
    )
    labels["ground"][labels["size"] == SIZES.index("large")] = IGNORED
    labels["letter"] = np.full((grid, grid), IGNORED)
    labels["row"], labels["column"] = (axis.astype(np.int64) for axis in np.mgrid[0:grid, 0:grid])
    _only_first(labels["first"], owner)
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
