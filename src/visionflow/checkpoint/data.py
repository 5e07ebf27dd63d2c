"""Batches of lessons, made as they are needed: the position in the data is a range of numbers and nothing else."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from transformers import LlavaProcessor

from visionflow.checkpoint.attention import CHUNK
from visionflow.checkpoint.sources import Source
from visionflow.checkpoint.tensors import IGNORED, Movable, pixels
from visionflow.errors import VisionFlowError
from visionflow.scenes import Course, Lesson, Split, scene_rng

_SHORTEST = 13
"""Tokens of a short lesson: what fits of them is all that need be made."""


@dataclass(frozen=True)
class Lessons(Movable):
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


class Teacher:
    """Makes batches of lessons for one processor; a row is one or two pictures and so many chunks of lessons.

    Raises:
        VisionFlowError: the source has a lesson that is too long for a chunk.
    """

    def __init__(self, processor: LlavaProcessor, chunks: int, source: Source) -> None:
        self.processor = processor
        self.source = source
        self.chunks = chunks
        self.after = _around(processor, 1)[1]
        self.again = "USER: "
        # Any picture will do: all are cropped to one size and take as many tokens.
        self.prefixes = [self._prefix(pictures) for pictures in (1, 2)]
        self._ids = lru_cache(100_000)(self._encode)
        for lesson in source.everything():
            if len(self._told(lesson)[0]) > CHUNK:
                raise VisionFlowError(
                    f"the question {lesson.turns[0].prompt[:40]!r}... with its answer is longer than {CHUNK} tokens: "
                    "shorten it, or leave it out"
                )

    def lessons(
        self, split: Split, indices: Iterable[int], course: Course, pictures: int = 1, hiding: Hiding | None = None
    ) -> Lessons:
        """A row for each index, each about so many pictures, with as many lessons as there is room for."""
        rows = [self._row(split, index, course, pictures, hiding) for index in indices]
        arrays = {
            name: torch.from_numpy(np.stack([getattr(row, name) for row in rows]))
            for name in ("input_ids", "labels", "meant", "position_ids", "sees", "owner")
        }
        return Lessons(
            pixel_values=pixels(self.processor, [image for row in rows for image in row.images]),
            kinds=tuple(row.kinds for row in rows),
            start=len(self.prefixes[pictures - 1]),
            **arrays,
        )

    def _row(self, split: Split, index: int, course: Course, pictures: int, hiding: Hiding | None) -> "_Row":
        """As many lessons as fit, behind the pictures."""
        rng = scene_rng(split, index)
        material = self.source.material(split, index, rng, course, pictures, self.chunks * CHUNK // _SHORTEST)
        prefix = self.prefixes[pictures - 1]
        start = len(prefix)
        size = start + self.chunks * CHUNK
        ids = np.full(size, self.processor.tokenizer.pad_token_id)
        labels, meant = np.full(size, IGNORED), np.full(size, IGNORED)
        positions, owner = np.zeros(size, dtype=np.int64), np.full(size, -1)
        ids[:start], positions[:start], owner[:start] = prefix, np.arange(start), 0
        room, held = [CHUNK] * self.chunks, []
        for lesson in material.lessons:
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
        return _Row(material.images, ids, labels, meant, positions, owner, sees, tuple(lesson.kind for lesson in held))

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

    images: tuple[Image.Image, ...]
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
