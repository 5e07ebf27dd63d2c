"""Where pictures and lessons come from: drawn by lot, or a data file of one's own."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from visionflow.errors import VisionFlowError
from visionflow.evaluation.datafile import suite_in
from visionflow.scenes import CELLS, Course, Lesson, Split, Turn, draw, lessons, sample_scene, shared_lessons

_HELD_BACK = 20
"""One picture of so many of a data file is for validation."""


@dataclass(frozen=True)
class Material:
    """What one row of a batch is made of."""

    images: tuple[Image.Image, ...]
    lessons: list[Lesson]


class Source(Protocol):
    """Gives material for row `index` of a split: so many pictures, and at most `most` lessons about them.

    `pairs` says whether there is material about two pictures, `known` whether the tower knows pictures of this kind
    from its own lessons; otherwise it learns from the answers too.
    """

    pairs: bool
    known: bool

    def material(self, split: Split, index: int, rng: Generator, course: Course, pictures: int, most: int) -> Material:
        """The material of one row; `rng` is that of the row."""

    def everything(self) -> Iterator[Lesson]:
        """All lessons, where they come to an end."""


class Drawn:
    """The generated world: pictures that nobody has seen before."""

    pairs = True
    known = True

    def material(self, split: Split, index: int, rng: Generator, course: Course, pictures: int, most: int) -> Material:
        """New pictures, and lessons about them as the course has them."""
        first = sample_scene(rng, course.some_between(rng))
        if pictures == 1:
            return Material((draw(first),), lessons(first, rng, most, course))
        second = sample_scene(rng, course.between)
        return Material((draw(first), draw(second)), shared_lessons((first, second), rng, most))

    def everything(self) -> Iterator[Lesson]:
        """Nothing: there is no end of it."""
        yield from ()


class Filed:
    """The questions of a parquet file as `visionflow scenes` writes it; those about one picture come together.

    One picture in twenty is kept for validation. All of a picture's questions are taught at once where there is room.

    Raises:
        VisionFlowError: the file cannot be read or is not of that layout, has fewer than two pictures, or a question
            about several.
    """

    pairs = False
    known = False

    def __init__(self, file: Path) -> None:
        suite_in(file)  # which refuses what is wrong with it
        from pyarrow import parquet  # a dependency of datasets

        self.groups: dict[bytes, list[dict[str, Any]]] = {}
        for row in parquet.read_table(file).to_pylist():
            self.groups.setdefault((row["image"] or {}).get("bytes") or b"", []).append(row)
            if row.get("more_images"):
                raise VisionFlowError(
                    f"question {row['id']!r} of {file} is about several pictures: leave such rows out"
                )
        self.pictures = list(self.groups)
        if len(self.pictures) < 2 or b"" in self.groups:
            raise VisionFlowError(f"{file} has no two pictures to learn from and to validate with: give it more rows")

    def material(self, split: Split, index: int, rng: Generator, course: Course, pictures: int, most: int) -> Material:
        """A picture of the file and its questions in any order; the course has no say."""
        picture = self.pictures[self._number(split, index)]
        rows = self.groups[picture]
        chosen = [rows[i] for i in rng.permutation(len(rows))[:most]]
        return Material((Image.open(BytesIO(picture)).convert("RGB"),), [_lesson(row) for row in chosen])

    def everything(self) -> Iterator[Lesson]:
        """All questions of the file."""
        return (_lesson(row) for rows in self.groups.values() for row in rows)

    def _number(self, split: Split, index: int) -> int:
        """Every picture once, in another order each time; those for validation are left out."""
        validation = list(range(0, len(self.pictures), _HELD_BACK))
        if split == "validation":
            return validation[index % len(validation)]
        left = np.setdiff1d(np.arange(len(self.pictures)), validation)
        again, place = divmod(index, len(left))
        return int(np.random.default_rng(again).permutation(left)[place])


def _lesson(row: dict[str, Any]) -> Lesson:
    answer, options = row["gold"][0], row["options"] or ()
    meant = options["ABCDEFGHIJKLMNOPQRSTUVWXYZ".index(answer)] if options and len(answer) == 1 else None
    before = row.get("before") or ()
    earlier = (Turn(*said) for said in zip(before[::2], before[1::2], strict=True))
    return Lesson(row["kind"], (*earlier, Turn(row["prompt"], answer, meant)), _shown(row.get("relevant")))


def _shown(relevant: list[int] | None) -> NDArray[np.bool_]:
    """The patches that matter; all of them, so that none is ever hidden, where the file does not say."""
    shown = np.isin(np.arange(CELLS**2), relevant) if relevant else np.ones(CELLS**2, dtype=np.bool_)
    return shown.reshape(1, CELLS, CELLS)
