"""Data of one's own: what is taught is what the file says, and what is kept for validation is not taught."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.checkpoint.tiny import RECIPE
from visionflow.checkpoint.learner import Learner
from visionflow.checkpoint.sources import Filed
from visionflow.checkpoint.training import Budget, train
from visionflow.errors import VisionFlowError
from visionflow.scenes import course, scene_rng
from visionflow.scenes.export import export, rows_of

pytest.importorskip("datasets")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four pictures, the first of them with three questions."""
    path = tmp_path_factory.mktemp("data") / "own.parquet"
    rows = [row for task in ("choice", "open") for row in rows_of(task, "train", 12)]
    again = [rows[0] | {"id": name, "prompt": f"{name}?", "options": [], "gold": ["yes"]} for name in ("one", "two")]
    export([*rows, *(row | {"task": "open"} for row in again)], path)
    return path


def prompts(source: Filed, split: str, index: int) -> set[str]:
    material = source.material(split, index, scene_rng("train", index), course(1.0), 1, 10)
    return {lesson.turns[0].prompt for lesson in material.lessons}


def test_every_picture_is_taught_once_before_any_comes_again_and_two_are_kept_back(file: Path) -> None:
    source = Filed(file)
    taught = [prompts(source, "train", index) for index in range(22)]
    kept = [prompts(source, "validation", index) for index in range(2)]
    assert len(set().union(*taught)) == sum(map(len, taught)) == 22
    assert sorted(map(len, kept)) == [1, 3]
    assert not set().union(*taught) & set().union(*kept)
    assert set().union(*(prompts(source, "train", index) for index in range(22, 44))) == set().union(*taught)


def test_a_lesson_is_what_the_row_says(file: Path) -> None:
    rows = {row["prompt"]: row for row in rows_of("choice", "train", 2)}
    for lesson in Filed(file).everything():
        turn = lesson.turns[0]
        if turn.prompt in rows:
            said = rows[turn.prompt]
            assert [turn.answer] == said["gold"]
            assert turn.meant == said["options"]["ABCD".index(turn.answer)]
            assert np.flatnonzero(lesson.shown).tolist() == said["relevant"]


def test_the_tower_learns_from_answers_about_pictures_it_does_not_know(file: Path) -> None:
    learner = Learner(RECIPE, torch.device("cpu"), source=Filed(file))
    learner.enter("language")
    before = {name: weight.clone() for name, weight in learner.tower.named_parameters()}
    learner.step(0, 0.5)
    assert any(not torch.equal(weight, before[name]) for name, weight in learner.tower.named_parameters())
    assert {"all", "seen"} < set(learner.validate())


def test_it_trains_to_its_end(file: Path, tmp_path: Path) -> None:
    assert (train(tmp_path / "run", RECIPE, Budget(steps=2), data=file) / "model.safetensors").exists()


def test_a_question_too_long_for_a_chunk_is_named(tmp_path: Path) -> None:
    first, second = rows_of("open", "train", 2)
    export([first, second | {"prompt": "What is this? " * 40}], tmp_path / "long.parquet")
    with pytest.raises(VisionFlowError, match=r"the question 'What is this\? .* is longer than 64 tokens: shorten it"):
        train(tmp_path / "run", RECIPE, Budget(steps=1), data=tmp_path / "long.parquet")
    assert not (tmp_path / "run").exists()


def test_a_file_of_one_picture_is_refused(tmp_path: Path) -> None:
    export(rows_of("open", "train", 1), tmp_path / "one.parquet")
    with pytest.raises(VisionFlowError, match="no two pictures"):
        Filed(tmp_path / "one.parquet")


def test_earlier_turns_are_taught_and_several_pictures_refused(tmp_path: Path) -> None:
    rows = list(rows_of("turns", "train", 2))
    export(rows, tmp_path / "turns.parquet")
    for lesson, row in zip(Filed(tmp_path / "turns.parquet").everything(), rows, strict=True):
        said = [text for turn in lesson.turns for text in (turn.prompt, turn.answer)]
        assert said == [*row["before"], row["prompt"], *row["gold"]]
    export(rows_of("pair", "train", 2), tmp_path / "pair.parquet")
    with pytest.raises(VisionFlowError, match=r"'pair-train-0' of .* is about several pictures: leave such rows out"):
        Filed(tmp_path / "pair.parquet")
