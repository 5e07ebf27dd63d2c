"""The parquet file: what `datasets` reads back is what the world says."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visionflow.errors import VisionFlowError
from visionflow.scenes import CELLS, TASKS, SceneObject, draw, relevant_patches, sample_item
from visionflow.scenes.export import export, rows_of, scene_of

datasets = pytest.importorskip("datasets")
parquet = pytest.importorskip("pyarrow.parquet")


def read(path: Path) -> Any:
    """Every row, with pictures decoded; caches beside the file."""
    return datasets.load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(path.parent / "cache"))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "scenes.parquet"
    export((row for task in TASKS for row in rows_of(task, "validation", 3)), path)
    return path


def test_what_was_written_is_read_back(written: Path) -> None:
    rows = list(read(written))
    assert [row["id"] for row in rows] == [f"{task}-validation-{number}" for task in TASKS for number in range(3)]
    for row in rows:
        task, split, number = row["id"].split("-")
        scene, item = sample_item(task, split, int(number))
        assert np.array_equal(np.asarray(row["image"]), np.asarray(draw(scene)))
        assert [row[name] for name in ("task", "kind", "question", "prompt")] == [
            *(item.task, item.kind, item.question, item.prompt)
        ]
        assert (tuple(row["gold"]), tuple(row["options"])) == (item.gold, item.options)
        grid = np.zeros((CELLS, CELLS), dtype=bool)
        grid.ravel()[row["relevant"]] = True
        assert np.array_equal(grid, relevant_patches(scene, item.about, CELLS, item.cells))
        assert (tuple(row["about"]), scene_of(row["scene"])) == (item.about, scene)
        graph = json.loads(row["scene"])
        assert graph == json.loads(json.dumps(asdict(scene)))
        assert tuple(SceneObject(**item | {"rgb": tuple(item["rgb"])}) for item in graph["objects"]) == scene.objects


def test_pictures_travel_as_png(written: Path) -> None:
    features = read(written).features
    assert isinstance(features["image"], datasets.Image)
    stored = read(written).cast_column("image", datasets.Image(decode=False))[0]["image"]["bytes"]
    assert stored.startswith(b"\x89PNG")


def test_an_interrupted_export_leaves_nothing_and_the_old_file_alone(tmp_path: Path) -> None:
    def interrupted() -> Iterator[dict[str, Any]]:
        yield from rows_of("existence", "test", 1)
        raise KeyboardInterrupt

    path = tmp_path / "scenes.parquet"
    path.write_bytes(b"the old one")
    with pytest.raises(KeyboardInterrupt):
        export(interrupted(), path)
    assert [each.name for each in tmp_path.iterdir()] == ["scenes.parquet"]
    assert path.read_bytes() == b"the old one"


def test_two_exports_at_once_are_each_whole(tmp_path: Path) -> None:
    """One begins and ends while another is at work: the file is that of the one that ends last, with all its rows."""
    path = tmp_path / "scenes.parquet"

    def slow() -> Iterator[dict[str, Any]]:
        first, second = rows_of("open", "test", 2)
        yield first
        export(rows_of("choice", "test", 3), path)
        assert [row["task"] for row in parquet.read_table(path).to_pylist()] == ["choice"] * 3
        yield second

    export(slow(), path)
    assert [row["task"] for row in parquet.read_table(path).to_pylist()] == ["open"] * 2
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(VisionFlowError, match=r"cannot write .*gone/scenes\.parquet: .*; choose another file"):
        export(rows_of("existence", "test", 1), tmp_path / "gone" / "scenes.parquet")


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(VisionFlowError, match=r"pip install 'visionflow\[data\]'"):
        export(rows_of("existence", "test", 1), tmp_path / "scenes.parquet")
    assert not list(tmp_path.iterdir())
