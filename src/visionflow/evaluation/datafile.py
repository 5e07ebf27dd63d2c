"""A suite from a parquet file, in the layout that `visionflow scenes` writes: its own items, or anybody's rows."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np
from PIL import Image

from visionflow.errors import VisionFlowError
from visionflow.evaluation.answers import words
from visionflow.evaluation.samples import FORMS, AnswerForm, Relevance, Sample, Suite
from visionflow.loading.pictures import decoded
from visionflow.scenes import CELLS, Scene, overlapping, relevant_patches
from visionflow.scenes.export import layout, scene_of

OPTIONAL = ("relevant", "about", "scene", "more_images", "before")
"""Columns that may be missing or empty; without `scene` there are no captions, without `relevant` no oracle."""

_FILLED = ("id", "task", "kind", "question", "prompt")

Fields = dict[str, Any]


def suite_in(path: Path) -> Suite:
    """The questions of a file with the columns of `visionflow.scenes.export.layout`, task by task in their order.

    The suite is named after the file's content, whatever the path. Pictures are decoded when they are asked for;
    everything else about a row is checked when its sample is made. What a caption has to name is taken from `scene`.
    `relevant` is a grid of 12 x 12; a model with another one gets the patches that `about` and `scene` say where these
    agree with it, and otherwise every patch that overlaps a relevant one.

    Raises:
        VisionFlowError: `datasets` is not installed, the file cannot be read, lacks a column or holds none of the
            package's tasks, an id is there twice; of a sample, its answer or its scene graph is not what it has to be;
            of an image, it cannot be decoded.
    """
    content = _content(path)
    table = _table(content, path)
    rows = table.drop_columns(["image", "more_images"]).to_pylist()
    pictures = [[first, *(more.values or ())] for first, more in zip(table["image"], table["more_images"], strict=True)]
    places = _by_task(rows, path)

    def sample(task: str, number: int) -> Sample:
        place = places[task][number]
        return _sample(rows[place], pictures[place], f"question {rows[place]['id']!r} of {path}")

    forms: dict[str, AnswerForm] = {task: FORMS[task] for task in places}
    counts = {task: len(several) for task, several in places.items()}
    kinds = {task: [rows[place]["kind"] for place in several] for task, several in places.items()}
    return Suite(f"parquet:{hashlib.sha256(content).hexdigest()[:16]}", forms, sample, counts, kinds)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise VisionFlowError(f"no such file: {path}") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise VisionFlowError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


def _table(content: bytes, path: Path) -> Any:
    """The columns of the layout as a `pyarrow.Table`, those that may be missing and are as empty ones."""
    features = layout()
    import pyarrow  # a dependency of datasets
    from datasets.table import cast_array_to_feature
    from pyarrow import parquet

    try:
        table = parquet.read_table(pyarrow.BufferReader(content))
        table.validate(full=True)
    except (pyarrow.ArrowException, OSError) as error:
        raise VisionFlowError(f"{path} is no parquet file, cut off or damaged: write or download it again") from error
    columns = {}
    for name, feature in features.items():
        if name not in table.column_names and name not in OPTIONAL:
            raise VisionFlowError(f"{path} has no column {name}: write it as visionflow scenes does")
        column = table[name] if name in table.column_names else pyarrow.nulls(len(table))
        try:
            columns[name] = cast_array_to_feature(column, feature)
        except (pyarrow.ArrowException, TypeError, ValueError) as error:
            raise VisionFlowError(
                f"the column {name} of {path} holds {column.type}: write it as visionflow scenes does"
            ) from error
    return pyarrow.table(columns)


def _by_task(rows: Sequence[Fields], path: Path) -> dict[str, list[int]]:
    """The places of each task's rows."""
    places: dict[str, list[int]] = {}
    ids: set[str] = set()
    for place, row in enumerate(rows):
        for name in _FILLED:
            if row[name] is None:
                raise VisionFlowError(f"row {place + 1} of {path} has no {name}: fill it in")
        if row["task"] not in FORMS:
            raise VisionFlowError(f"{path} holds the unknown task {row['task']!r}: use only {', '.join(FORMS)}")
        if row["id"] in ids:
            raise VisionFlowError(f"{path} holds the id {row['id']!r} twice: give each row its own")
        ids.add(row["id"])
        places.setdefault(row["task"], []).append(place)
    if not places:
        raise VisionFlowError(f"{path} holds no questions: give a file with rows")
    return places


def _sample(row: Fields, pictures: Sequence[Any], where: str) -> Sample:
    form = FORMS[row["task"]]
    gold, options = tuple(row["gold"] or ()), tuple(text or "" for text in row["options"] or ())
    _check_gold(gold, options, form, where)
    scene = _scene(row, where)
    objects = tuple(each.name for each in scene.objects) if scene and form == "caption" else ()
    if form == "caption" and not objects:
        raise VisionFlowError(f"{where} does not say in scene what to name: add it, or leave out captions with --tasks")
    return Sample(
        id=row["id"],
        task=row["task"],
        kind=row["kind"],
        form=form,
        question=row["question"],
        prompt=row["prompt"],
        gold=gold,
        options=options,
        objects=objects,
        images=lambda: [_picture(each, where) for each in pictures],
        relevant=_relevance(row, scene, len(pictures), where),
        before=_turns(row, where),
    )


def _check_gold(gold: Sequence[str | None], options: Sequence[str], form: AnswerForm, where: str) -> None:
    if not gold or not all(each and words(each) for each in gold):
        raise VisionFlowError(f"the gold of {where} is empty: give the right answer")
    known: Mapping[AnswerForm, Sequence[str]] = {"letter": ascii_uppercase[: len(options)], "yes_no": ("yes", "no")}
    if form in known and (len(gold) > 1 or gold[0] not in tuple(known[form])):
        way_out = f"one of {', '.join(known[form])}" if known[form] else "options, too"
        raise VisionFlowError(f"the gold of {where} is {', '.join(map(str, gold))}: give {way_out}")


def _scene(row: Fields, where: str) -> Scene | None:
    if row["scene"] is None:
        return None
    try:
        return scene_of(row["scene"])
    except VisionFlowError as error:
        raise VisionFlowError(f"the scene of {where} is no scene graph: write it as visionflow scenes does") from error


def _turns(row: Fields, where: str) -> tuple[str, ...]:
    before = row["before"] or ()
    if len(before) % 2 or not all(text and text.strip() for text in before):
        raise VisionFlowError(f"the turns before {where} are no questions with their answers: give both, in turn")
    return tuple(before)


def _relevance(row: Fields, scene: Scene | None, pictures: int, where: str) -> Relevance | None:
    if row["relevant"] is None:
        return None
    patches = pictures * CELLS**2
    if not set(row["relevant"]) <= set(range(patches)):
        raise VisionFlowError(f"the relevant patches of {where} are not all of 0 to {patches - 1}: correct them")
    cells = np.isin(np.arange(patches), row["relevant"]).reshape(pictures, CELLS, CELLS)
    about = row["about"]
    if scene is not None and about is not None and set(about) <= set(range(len(scene.objects))):
        exact = scene
        if np.array_equal(relevant_patches(exact, about, CELLS)[None], cells):
            return lambda grid: relevant_patches(exact, about, grid)
    return lambda grid: overlapping(cells if pictures > 1 else cells[0], grid)


def _picture(picture: Any, where: str) -> Image.Image:
    stored = picture.as_py() or {}
    if not stored.get("bytes"):
        raise VisionFlowError(f"the image of {where} is missing: store its bytes, as visionflow scenes does")
    return decoded(stored["bytes"], f"the image of {where}")
