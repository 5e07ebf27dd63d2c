"""The items of both worlds: the same again, of every kind, and seen through the one reader of files."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from visionflow.evaluation.datafile import suite_in
from visionflow.scenes import CELLS, TASKS, WORLDS, relevant_patches, sample_item
from visionflow.scenes.export import export, rows_of
from visionflow.scenes.lessons import MAKERS


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("world", WORLDS)
def test_an_item_is_the_same_again_and_in_every_split_another(task: str, world: str) -> None:
    items = [sample_item(task, split, 7, world) for split in ("train", "validation", "test")]
    assert len({scene.background.seed for scene, _ in items}) == 3
    assert sample_item(task, "test", 7, world) == items[2]


def test_the_crowded_world_asks_for_every_kind_as_often() -> None:
    kinds = Counter(sample_item("open", "test", number, "crowded")[1].kind for number in range(2 * len(MAKERS)))
    assert kinds == dict.fromkeys(MAKERS, 2)


def test_letters_are_dealt_out_evenly() -> None:
    golds = Counter(sample_item("choice", "test", number, "crowded")[1].gold[0] for number in range(32))
    assert golds == dict.fromkeys("ABCD", 8)


def test_a_file_of_the_crowded_world_is_a_suite(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    path = tmp_path / "crowded.parquet"
    export((row for task in TASKS for row in rows_of(task, "test", 3, "crowded")), path)
    suite = suite_in(path)
    for task in TASKS:
        for number, sample in enumerate(suite.samples(3, [task])):
            scene, item = sample_item(task, "test", number, "crowded")
            assert (sample.prompt, sample.gold) == (item.prompt, item.gold)
            expected = relevant_patches(scene, item.about, CELLS, item.cells)
            assert sample.relevant is not None
            assert np.array_equal(sample.relevant(CELLS), expected)
