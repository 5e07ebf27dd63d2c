"""Suites from files: an exported one is the named one, and what is wrong with a file is one sentence."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.parquet import edited
from tests.questions import tiny_loaded
from tests.tiny import LAYERS
from visionflow.errors import VisionFlowError
from visionflow.evaluation import runner
from visionflow.evaluation.records import Records
from visionflow.evaluation.rows import chosen_rows, table_rows
from visionflow.evaluation.run import run_of
from visionflow.evaluation.runner import check_rows, evaluate
from visionflow.evaluation.samples import Sample
from visionflow.evaluation.suites import SUITES, suite_called
from visionflow.scenes import CONVERSATIONS, TASKS
from visionflow.scenes.export import export, rows_of

pytest.importorskip("datasets")

EACH = 2
NAMED = SUITES["scenes"].samples(EACH * len(TASKS), tuple(TASKS))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "scenes.parquet"
    export((row for task in TASKS for row in rows_of(task, "test", EACH)), path)
    return path


@pytest.fixture
def own(exported: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    path = tmp_path / "own.parquet"
    path.write_bytes(exported.read_bytes())
    return path


def read(path: Path, *tasks: str, limit: int = 100) -> list[Sample]:
    return suite_called(str(path)).samples(limit, tasks)


def test_samples_are_those_of_the_suite(exported: Path) -> None:
    for sample, named in zip(read(exported), NAMED, strict=True):
        for name in ("task", "kind", "form", "question", "prompt", "gold", "options", "objects"):
            assert getattr(sample, name) == getattr(named, name)
        assert np.array_equal(np.asarray(sample.images()[0]), np.asarray(named.images()[0]))
        assert sample.relevant
        assert named.relevant
        for grid in (5, 12, 24):
            assert np.array_equal(sample.relevant(grid), named.relevant(grid))


def test_several_pictures_and_turns_are_those_of_the_suite(tmp_path: Path) -> None:
    path = tmp_path / "talks.parquet"
    export((row for task in CONVERSATIONS for row in rows_of(task, "test", EACH)), path)
    named = SUITES["scenes"].samples(EACH * len(CONVERSATIONS), tuple(CONVERSATIONS))
    for sample, other in zip(read(path), named, strict=True):
        for name in ("task", "kind", "form", "question", "prompt", "gold", "before"):
            assert getattr(sample, name) == getattr(other, name)
        for picture, again in zip(sample.images(), other.images(), strict=True):
            assert np.array_equal(np.asarray(picture), np.asarray(again))
        assert sample.relevant
        assert other.relevant
        for grid in (5, 12, 24):
            assert np.array_equal(sample.relevant(grid).ravel(), other.relevant(grid).ravel())


def test_records_are_those_of_the_suite(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "LONGEST", dict.fromkeys(runner.LONGEST, 4))  # random weights never end a sentence
    rows, loaded = chosen_rows(table_rows(LAYERS), ["oracle", "himap-paid", "no-image"]), tiny_loaded()
    one, other = (evaluate(loaded, asked, rows, Records()) for asked in (read(exported), NAMED))
    assert [each | {"id": ""} for each in one] == [each | {"id": ""} for each in other]


def test_the_first_of_each_task_or_what_there_is(exported: Path, own: Path, tmp_path: Path) -> None:
    assert [each.id for each in read(exported, limit=6)] == [
        "choice-test-0",
        "choice-test-1",
        *(f"{task}-test-0" for task in TASKS if task != "choice"),
    ]
    assert [each.id for each in read(exported, "open")] == ["open-test-0", "open-test-1"]
    edited(own, tmp_path, task=["open", *["choice"] * 3, *["open"] * 6], gold=[["A"]] * 10, options=[["x", "y"]] * 10)
    assert [each.task for each in read(own, limit=8)] == ["open"] * 4 + ["choice"] * 3
    with pytest.raises(VisionFlowError, match="unknown task 'caption': choose of open, choice"):
        read(own, "caption")


def test_the_run_is_described_by_the_content(exported: Path, own: Path, tmp_path: Path) -> None:
    before = suite_called(str(own)).name
    assert before == suite_called(str(exported)).name
    assert suite_called(str(edited(own, tmp_path, kind=["other"] * 10))).name != before
    samples = read(exported)
    described = run_of(tiny_loaded(), before, samples).described
    assert (described["suite"], described["limit"]) == (before, len(samples))


def test_optional_columns_may_be_missing(own: Path, tmp_path: Path) -> None:
    edited(own, tmp_path, drop="about")
    for sample, named in zip(read(own), NAMED, strict=True):
        assert sample.relevant
        assert named.relevant
        assert np.array_equal(sample.relevant(12), named.relevant(12))
        assert np.array_equal(sample.relevant(24), named.relevant(12).repeat(2, 0).repeat(2, 1))
        assert np.array_equal(sample.relevant(4), named.relevant(12).reshape(4, 3, 4, 3).any((1, 3)))
    edited(own, tmp_path, drop="scene")
    assert len(read(own, "choice", "science", "existence", "open")) == 4 * EACH
    edited(own, tmp_path, drop="relevant")
    assert {each.relevant for each in read(own, "choice")} == {None}


def test_the_relevant_patches_are_believed_before_the_scene_graph(own: Path, tmp_path: Path) -> None:
    (sample, *_) = read(edited(own, tmp_path, relevant=[[0, 143]] * 10))
    assert sample.relevant
    assert sample.relevant(4).nonzero()[0].tolist() == [0, 3]


def test_an_oracle_that_lacks_one_row_is_refused_before_any_work(own: Path, tmp_path: Path) -> None:
    samples = read(edited(own, tmp_path, relevant=[*[[1]] * 9, None]))
    with pytest.raises(VisionFlowError, match="leave the row oracle out"):
        check_rows(tiny_loaded().model, samples, table_rows(LAYERS))


def test_pictures_of_any_kind(own: Path, tmp_path: Path) -> None:
    stored = io.BytesIO()
    Image.new("LA", (20, 10), (0, 0)).save(stored, "PNG")
    edited(own, tmp_path, image=[stored.getvalue()] * 10)
    picture = read(own)[0].images()[0]
    assert (picture.mode, picture.size, picture.getpixel((0, 0))) == ("RGB", (20, 10), (255, 255, 255))


GOLD = [["A"]] * 4 + [["yes"]] * 2 + [["a red circle"]] * 4


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"task": ["count"] * 10}, "holds the unknown task 'count': use only choice, science"),
        ({"task": [None] * 10}, "row 1 of .* has no task"),
        ({"id": ["same"] * 10}, "holds the id 'same' twice"),
        ({"gold": [[], *GOLD[1:]]}, "the gold of question 'choice-test-0' of .* is empty"),
        ({"gold": [*GOLD[:9], ["..."]]}, "the gold of question 'open-test-1' of .* is empty"),
        ({"gold": [["E"], *GOLD[1:]]}, "the gold of question 'choice-test-0' of .* is E: give one of A, B, C, D"),
        ({"gold": [["A", "B"], *GOLD[1:]]}, "is A, B: give one of A, B, C, D"),
        ({"options": [[]] * 10}, "is .: give options, too"),
        ({"gold": [*GOLD[:4], ["Yes"], *GOLD[5:]]}, "question 'existence-test-0' of .* is Yes: give one of yes, no"),
        ({"gold": ["A"] * 10}, "the column gold of .* holds string"),
        ({"image": [1] * 10}, "the column image of .* holds int64"),
        ({"relevant": [[144]] * 10}, "question 'choice-test-0' of .* are not all of 0 to 143"),
        ({"scene": [None] * 10}, "question 'caption-test-0' of .* does not say in scene what to name"),
        ({"scene": [json.dumps({"objects": [{}]})] * 10}, "the scene of question 'choice-test-0' of .* is no scene"),
    ],
)
def test_bad_rows_are_refused(own: Path, tmp_path: Path, columns: dict[str, list[Any]], message: str) -> None:
    refused(edited(own, tmp_path, **columns), message)


@pytest.mark.parametrize("name", ["id", "image", "task", "kind", "question", "prompt", "gold", "options"])
def test_a_missing_column_is_named(own: Path, tmp_path: Path, name: str) -> None:
    refused(edited(own, tmp_path, drop=name), f"has no column {name}: ")


@pytest.mark.parametrize("end", [0, 3, 0.5, -3])
def test_what_is_no_whole_parquet_file(own: Path, end: float) -> None:
    content = own.read_bytes()
    own.write_bytes(content[: int(end * len(content)) if end == 0.5 else int(end)])
    refused(own, "is no parquet file, cut off or damaged")


def test_what_is_no_file(tmp_path: Path) -> None:
    refused(tmp_path / "gone.parquet", "no such file: .*gone.parquet")
    refused(Path("\0.parquet"), "cannot read")
    (tmp_path / "folder.parquet").mkdir()
    refused(tmp_path / "folder.parquet", "cannot read .*folder.parquet: Is a directory")
    refused(Path(f"{'x' * 300}.parquet"), "cannot read x*.parquet: File name too long")
    export([], tmp_path / "empty.parquet")
    refused(tmp_path / "empty.parquet", "holds no questions")


@pytest.mark.parametrize(
    ("stored", "message"),
    [(b"no picture", "is not a picture"), (None, "is missing"), ("cut", "is truncated or damaged")],
)
def test_an_image_that_cannot_be_decoded_is_named(own: Path, tmp_path: Path, stored: Any, message: str) -> None:
    content = next(iter(rows_of("choice", "test", 1)))["image"]["bytes"][:5000] if stored == "cut" else stored
    asked = read(edited(own, tmp_path, image=[{"bytes": content, "path": None}] * 10))
    with pytest.raises(VisionFlowError, match=f"the image of question 'open-test-1' of .*{message}"):
        asked[-1].images()[0]


def test_without_the_library(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    refused(exported, r"pip install 'visionflow\[data\]'")


def refused(path: Path, message: str) -> None:
    with pytest.raises(VisionFlowError, match=message) as refusal:
        read(path)
    assert "\n" not in str(refusal.value)
