"""Items of the tasks as a parquet file that `datasets.load_dataset("parquet", data_files=...)` reads."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from visionflow.errors import VisionFlowError
from visionflow.scenes.conversations import CONVERSATIONS, EVERY_TASK, sample_conversation
from visionflow.scenes.draw import draw
from visionflow.scenes.patches import relevant_patches
from visionflow.scenes.tasks import sample_item
from visionflow.scenes.world import CELLS, SPLITS, Background, Ground, Litter, Scene, SceneObject, Sign, Split

_BATCH = 100
_NUMBERS = ("x", "y", "radius", "angle")


def export(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """Write rows (see `rows_of`) to `path`; the file is there when all of it is, never a part of it.

    Raises:
        VisionFlowError: the `datasets` library is not installed, or the file cannot be written.
    """
    columns = layout()
    from datasets.arrow_writer import ParquetWriter

    partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")  # no other process's
    try:
        with ParquetWriter(features=columns, path=str(partial), writer_batch_size=_BATCH) as writer:
            for row in rows:
                writer.write(row)
            writer.finalize()
        partial.replace(path)
    except OSError as error:
        raise VisionFlowError(f"cannot write {path}: {error.strerror or error}; choose another file") from error
    finally:
        partial.unlink(missing_ok=True)


def layout() -> Any:
    """The columns of the file, as `datasets.Features`; `rows_of` says what is in them.

    Raises:
        VisionFlowError: the `datasets` library is not installed.
    """
    try:
        from datasets import Features, Image, List, Value
    except ImportError as error:
        message = "parquet files take the datasets library (4.0 or later): pip install 'visionflow[data]'"
        raise VisionFlowError(message) from error
    text, numbers = Value("string"), List(Value("int32"))
    return Features(
        id=text,
        image=Image(),
        task=text,
        kind=text,
        question=text,
        prompt=text,
        gold=List(text),
        options=List(text),
        relevant=numbers,
        about=numbers,
        scene=text,
        more_images=List(Image()),
        before=List(text),
    )


def rows_of(task: str, split: Split, limit: int) -> Iterable[dict[str, Any]]:
    """Items 0 to `limit` - 1 of a task, one row each, with columns:

    id: `task-split-number`, from which `sample_item` or `sample_conversation` gives scenes and item again.
    image: the picture as PNG bytes, 168 x 168 pixels.
    task, kind, question, prompt, gold, options: as in `Item`.
    relevant: patches of the objects, signs, litter and ground that the answer rests on, counted row by row from 0 on a
        grid of 12 x 12.
    about: those objects, by their number in the scene graph, from 0.
    scene: the scene graph, JSON: `Scene` with its objects and its background; `scene_of` makes one of it again.
    more_images: the pictures after the first; of task `pair` one. Patches are counted on through all pictures.
    before: earlier turns, question and answer in turn; of task `turns` one or two of each.

    Of the tasks of `visionflow.scenes.conversations` there is no `about` and no `scene`.
    """
    if task in CONVERSATIONS:
        return (_conversation(task, split, number) for number in range(limit))
    return (_row(task, split, number) for number in range(limit))


def scene_of(graph: str) -> Scene:
    """The scene of a row's column `scene`.

    Raises:
        VisionFlowError: it is no such scene graph.
    """
    try:
        said = json.loads(graph)
        objects = tuple(
            SceneObject(**each | {"rgb": tuple(each["rgb"])} | {name: float(each[name]) for name in _NUMBERS})
            for each in said["objects"]
        )
        background = Background(**said["background"])
        signs = tuple(Sign(**each | {"rgb": tuple(each["rgb"])}) for each in said.get("signs", ()))
        grounds = tuple(Ground(**each | {"rgb": tuple(each["rgb"])}) for each in said.get("grounds", ()))
        litter = tuple(Litter(**each | {"rgb": tuple(each["rgb"])}) for each in said.get("litter", ()))
        return Scene(int(said["width"]), int(said["height"]), background, objects, signs, grounds, litter)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise VisionFlowError("this is no scene graph: give one as `rows_of` writes it") from error


def check_export(path: Path, tasks: Sequence[str], split: str, limit: int, force: bool) -> None:
    """Refuse, before any work, what cannot be exported.

    Raises:
        VisionFlowError: an unknown task or split, a limit below 1, a name that ``eval --suite`` would not take for a
            suite, a file that is there (without `force`), or a place where no file can be written.
    """
    for task in tasks:
        if task not in EVERY_TASK:
            raise VisionFlowError(f"unknown task {task!r}: choose one of {', '.join(EVERY_TASK)}")
    if split not in SPLITS:
        raise VisionFlowError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    if limit < 1:
        raise VisionFlowError(f"the limit must be at least 1 item, not {limit}")
    _check_place(path, force)


def _row(task: str, split: Split, number: int) -> dict[str, Any]:
    scene, item = sample_item(task, split, number)
    return {
        "id": f"{task}-{split}-{number}",
        "image": _drawn(scene),
        "task": task,
        "kind": item.kind,
        "question": item.question,
        "prompt": item.prompt,
        "gold": list(item.gold),
        "options": list(item.options),
        "relevant": np.flatnonzero(relevant_patches(scene, item.about, CELLS, item.cells)).tolist(),
        "about": list(item.about),
        "scene": json.dumps(asdict(scene)),
        "more_images": [],
        "before": [],
    }


def _conversation(task: str, split: Split, number: int) -> dict[str, Any]:
    scenes, lesson = sample_conversation(task, split, number)
    last = lesson.turns[-1]
    return {
        "id": f"{task}-{split}-{number}",
        "image": _drawn(scenes[0]),
        "task": task,
        "kind": lesson.kind,
        "question": last.prompt,
        "prompt": last.prompt,
        "gold": [last.answer],
        "options": [],
        "relevant": np.flatnonzero(lesson.shown).tolist(),
        "about": None,
        "scene": None,
        "more_images": [_drawn(scene) for scene in scenes[1:]],
        "before": [text for turn in lesson.turns[:-1] for text in (turn.prompt, turn.answer)],
    }


def _drawn(scene: Scene) -> dict[str, Any]:
    """A picture as `datasets` stores it."""
    png = BytesIO()
    draw(scene).save(png, "PNG")
    return {"bytes": png.getvalue(), "path": None}


def _check_place(path: Path, force: bool) -> None:
    try:
        is_folder, is_there, has_parent = path.is_dir(), path.exists(), path.parent.is_dir()
    except (OSError, ValueError) as error:  # a name that is too long, a null character
        raise VisionFlowError(f"{path} is no valid path: choose another name") from error
    if is_folder:
        raise VisionFlowError(f"{path} is a folder: add a file name")
    if not path.name.endswith(".parquet"):  # as `eval --suite` knows such a file
        raise VisionFlowError(f"{path} must end in .parquet, which is what is written: choose another name")
    if is_there and not force:
        raise VisionFlowError(f"{path} is there already: choose another file, or replace it with --force")
    if not has_parent:
        raise VisionFlowError(f"there is no folder {path.parent}: make it, or choose another file")
    if not os.access(path.parent, os.W_OK):
        raise VisionFlowError(f"cannot write in the folder {path.parent}: no permission; choose another file")
