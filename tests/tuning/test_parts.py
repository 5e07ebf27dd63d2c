"""Both parts of the prompts that tune works on have every kind of question, whatever order a suite has them in."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import pytest

from visionflow.errors import VisionFlowError
from visionflow.evaluation.samples import Sample, Suite
from visionflow.evaluation.suites import suite_called, suite_to_tune_on
from visionflow.scenes.export import export, rows_of
from visionflow.tuning.parts import two_parts

BLOCKS = {"open": ["colour"] * 10 + ["place"] * 10 + ["ground"] * 10, "caption": ["caption"] * 30}


def suite_of(kinds: Mapping[str, Sequence[str]]) -> Suite:
    """A suite of so many samples of these kinds, in this order."""

    def sample(task: str, number: int) -> Sample:
        name, kind = f"{task}-{number}", kinds[task][number]
        return Sample(name, task, kind, "words", name, name, ("yes",), (), (), list, None)

    return Suite("own", dict.fromkeys(kinds, "words"), sample, {task: len(several) for task, several in kinds.items()})


def kinds_in(part: Sequence[Sample]) -> Counter[tuple[str, str]]:
    return Counter((sample.task, sample.kind) for sample in part)


def test_kinds_that_come_in_blocks_are_in_both_parts() -> None:
    searched, validated = two_parts(suite_of(BLOCKS), 12, 16)
    open_kinds = ("colour", "place", "ground")
    assert kinds_in(searched) == {("caption", "caption"): 6} | {("open", kind): 2 for kind in open_kinds}
    assert sorted(kinds_in(validated).values()) == [2, 3, 3, 8]
    assert not {sample.id for sample in searched} & {sample.id for sample in validated}


def test_every_kind_comes_before_tasks_are_made_even() -> None:
    searched, validated = two_parts(suite_of(BLOCKS), 4, 5)
    assert set(kinds_in(searched).values()) == {1}
    assert len(kinds_in(searched)) == len(kinds_in(validated)) == 4
    assert kinds_in(validated)["caption", "caption"] == 2


def test_the_prompts_are_the_same_each_time_and_task_by_task() -> None:
    once, again = two_parts(suite_of(BLOCKS), 9, 9), two_parts(suite_of(BLOCKS), 9, 9)
    for part, same in zip(once, again, strict=True):
        assert [sample.id for sample in part] == [sample.id for sample in same]
        assert [task for task, _ in groupby(part, key=lambda sample: sample.task)] == ["open", "caption"]


def test_fewer_are_parted_in_proportion_and_what_is_there_twice_is_in_both_parts() -> None:
    few = {"open": ["colour"] * 6 + ["place"] * 2, "caption": ["caption"] * 2}
    searched, validated = two_parts(suite_of(few), 40, 60)
    assert (len(searched), len(validated)) == (4, 6)
    assert kinds_in(searched) == {("open", "colour"): 2, ("open", "place"): 1, ("caption", "caption"): 1}
    assert kinds_in(validated) == {("open", "colour"): 4, ("open", "place"): 1, ("caption", "caption"): 1}


@pytest.mark.parametrize("there", [0, 1])
def test_too_few_for_two_parts_are_refused(there: int) -> None:
    with pytest.raises(VisionFlowError, match=f"{there} prompts are too few"):
        two_parts(suite_of({"open": ["colour"] * there}), 40, 60)


@pytest.mark.slow
def test_of_the_generated_world_both_parts_have_every_kind() -> None:
    """By the default numbers of the command: a kind that is searched without is a kind that the plan may lose."""
    suite = suite_to_tune_on("scenes")
    every = {(task, suite.kind(task, number)) for task in suite.tasks for number in range(24)}
    for part in two_parts(suite, 48, 48):
        assert kinds_in(part).keys() == every


def test_a_file_in_blocks_of_kinds_gives_both_parts_every_kind(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    rows = sorted((row for task in ("choice", "existence") for row in rows_of(task, "train", 24)), key=_task_and_kind)
    export(iter(rows), tmp_path / "own.parquet")
    suite = suite_called(str(tmp_path / "own.parquet"))
    every = {_task_and_kind(row) for row in rows}
    for part in two_parts(suite, 20, 20):
        assert kinds_in(part).keys() == every


def _task_and_kind(row: Mapping[str, object]) -> tuple[str, str]:
    return str(row["task"]), str(row["kind"])
