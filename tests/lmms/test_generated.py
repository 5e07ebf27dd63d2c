"""Generated questions in the columns of the public data sets."""

from pathlib import Path
from typing import Any

import pytest

from tests.lmms.seed_bench import SEED_BENCH
from visionflow.errors import VisionFlowError
from visionflow.lmms import data_sets, generated
from visionflow.lmms.data_sets import DataSet

datasets = pytest.importorskip("datasets")

COLUMNS: dict[DataSet, set[str]] = {
    data_sets.POPE: {"id", "question_id", "question", "answer", "image_source", "image", "category"},
    data_sets.A_OKVQA: {
        *("image", "question_id", "question", "choices", "correct_choice_idx"),
        *("direct_answers", "difficult_direct_answer", "rationales"),
    },
    data_sets.FLICKR30K: {"image", "caption", "sentids", "img_id", "filename"},
    data_sets.MMBENCH: {
        *("index", "question", "hint", "answer", "A", "B", "C", "D", "category", "image"),
        *("source", "L2-category", "comment", "split"),
    },
}
"""As the cards of the data sets on the Hub list them, of some."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated")
    generated.write(folder, (*data_sets.ALL, SEED_BENCH), 4)
    return folder


def read(folder: Path, wanted: DataSet, pattern: str = "") -> Any:
    copy = wanted.local(folder)
    assert copy is not None
    files = str(copy / (pattern or wanted.files))
    return datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(folder / "cache"))


@pytest.mark.parametrize("wanted", [*data_sets.ALL, SEED_BENCH], ids=lambda wanted: str(wanted.repo))
def test_every_data_set_is_generated(folder: Path, wanted: DataSet) -> None:
    rows = read(folder, wanted)
    assert len(rows) == 4
    pictures = read(folder, wanted, str(wanted.pictures)) if wanted.pictures else rows
    picture = pictures[0]["image"]
    assert (picture[0] if isinstance(picture, list) else picture).size == (168, 168)
    if wanted in COLUMNS:
        assert set(rows.column_names) == COLUMNS[wanted]


def test_types_and_nesting(folder: Path) -> None:
    value, lists = datasets.Value, datasets.List
    science = read(folder, data_sets.SCIENCE_QA).features
    assert (science["choices"], science["answer"]) == (lists(value("string")), value("int8"))
    assert read(folder, SEED_BENCH).features["image"] == lists(datasets.Image())
    step = {"operation": value("string"), "argument": value("string"), "dependencies": lists(value("int32"))}
    assert read(folder, data_sets.GQA).features["semantic"] == lists(step)
    assert read(folder, data_sets.NOCAPS).features["annotations_captions"] == lists(value("string"))


def test_mmbench_turns_its_options(folder: Path) -> None:
    first, turned = read(folder, data_sets.MMBENCH).select(range(2))
    assert turned["index"] == first["index"] + 1_000_000
    assert turned["question"] == first["question"]
    assert turned[turned["answer"]] == first[first["answer"]]
    assert turned["answer"] != first["answer"]


def test_mme_asks_in_pairs(folder: Path) -> None:
    rows = read(folder, data_sets.MME)
    assert [row["answer"] for row in rows] == ["Yes", "No", "Yes", "No"]
    assert rows[0]["question_id"] == rows[1]["question_id"] != rows[2]["question_id"]


def test_a_copy_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    assert data_sets.POPE.local(tmp_path) is None
    (tmp_path / "lmms-lab-encoder" / "POPE").mkdir(parents=True)
    with pytest.raises(VisionFlowError, match=r"there is no data/test-\*\.parquet in .*POPE: download"):
        data_sets.POPE.local(tmp_path)
