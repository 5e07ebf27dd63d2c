"""`visionflow scenes`, as a user types it."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.cli.running import Run
from visionflow.scenes import EVERY_TASK, sample_item

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def scenes(visionflow: Run) -> Run:
    return partial(visionflow, "scenes")


def test_one_task_of_one_split(folder: Path) -> None:
    command = [sys.executable, "-m", "visionflow", "scenes", "--task", "choice", "--split", "train", "--limit", "2"]
    done = subprocess.run([*command, "--out", "some.parquet"], capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout) == (0, "some.parquet: 2 items\n")
    assert "drawing" in done.stderr
    rows = datasets.load_dataset("parquet", data_files="some.parquet", split="train", cache_dir=str(folder / "cache"))
    assert rows["id"][:] == ["choice-train-0", "choice-train-1"]
    assert rows["prompt"][:] == [sample_item("choice", "train", number)[1].prompt for number in range(2)]


def test_all_tasks_where_none_is_named(scenes: Run, folder: Path) -> None:
    assert scenes("--limit", "1", "--out", "all.parquet")[0] == 0
    rows = datasets.load_dataset("parquet", data_files="all.parquet", split="train", cache_dir=str(folder / "cache"))
    assert rows["id"][:] == [f"{task}-test-0" for task in EVERY_TASK]


def test_force_replaces(scenes: Run, folder: Path) -> None:
    (folder / "old.parquet").write_text("old")
    assert scenes("--task", "open", "--limit", "1", "--out", "old.parquet", "--force")[0] == 0
    assert (folder / "old.parquet").read_bytes().startswith(b"PAR1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing option '--out'"),
        (["--out", "new.parquet", "--task", "magic"], "unknown task 'magic': choose one of choice, science, exist"),
        (["--out", "new.parquet", "--split", "dev"], "unknown split 'dev': choose one of train, validation, test"),
        (["--out", "new.parquet", "--limit", "0"], "'--limit': it must be a whole number from 1 to 1000000, not '0'"),
        (["--out", "new.parquet", "--limit", "many"], "Invalid value for '--limit'"),
        (["--out", "old.parquet"], "old.parquet is there already: choose another file, or replace it with --force"),
        (["--out", "new.csv"], "new.csv must end in .parquet, which is what is written: choose another name"),
        (["--out", "."], ". is a folder: add a file name"),
        (["--out", "gone/new.parquet"], "there is no folder gone: make it, or choose another file"),
        (["--out", "x" * 300 + ".parquet"], "is no valid path: choose another name"),
        (["--out", "old.parquet/new.parquet"], "there is no folder old.parquet"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(
    arguments: list[str],
    message: str,
    folder: Path,
    scenes: Run,
) -> None:
    (folder / "old.parquet").write_text("old")
    code, out, err = scenes(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert [each.name for each in folder.iterdir()] == ["old.parquet"]
    assert (folder / "old.parquet").read_text() == "old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(folder: Path, scenes: Run) -> None:
    (folder / "locked").mkdir(mode=0o500)
    code, _, err = scenes("--out", "locked/new.parquet")
    assert code == 2
    assert "cannot write in the folder locked: no permission" in err


def test_without_the_library(scenes: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    code, out, err = scenes("--out", "new.parquet")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "pip install 'visionflow[data]'" in err
