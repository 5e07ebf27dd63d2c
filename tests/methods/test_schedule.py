"""Schedules: any cuts one after the other, as text, in files and on a model."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from tests.tiny import LAYERS, batch_of, prompt
from visionflow import FastV, HiMAP, Method, UnlikeMean, VisionFlowError, method, prune
from visionflow.methods import PlanFile, Schedule


def kept(model: PreTrainedModel, of: Method) -> list[list[int]]:
    with prune(model, of) as trace, torch.no_grad():
        model(**batch_of([prompt(4, "image", 7), prompt(2, "image", 3, "image", 5, seed=4)]))
    return [columns.tolist() for stage in trace.stages for columns in stage.kept]


def test_it_is_read_as_it_is_written() -> None:
    found = method("schedule:steps=0/unlike-mean/0.8+1/text/0.5+5/last/0.125+6/none/0")
    assert method(found.spec) == method(found.to_dict()) == found
    assert found.plan().image_tokens(144, 8) == [116, 73, 73, 73, 73, 19, 0, 0]


@pytest.mark.parametrize(
    ("steps", "same"),
    [
        (("2/text/0.5",), HiMAP(2, 0.5, 4, 0.0)),
        (("3/last/0.25",), FastV(3, 0.75)),
        (("3/fastv/0.25",), FastV(3, 0.75)),
        (("0/unlike-mean/0.4",), UnlikeMean(0.6)),
    ],
    ids=["text", "last", "fastv", "unlike-mean"],
)
def test_one_cut_is_that_of_the_method(model: PreTrainedModel, steps: tuple[str, ...], same: Method) -> None:
    assert Schedule(steps).cuts() == same.cuts()[:1]
    assert kept(model, Schedule(steps)) == kept(model, same)[: len(kept(model, Schedule(steps)))]


def test_shares_are_of_the_image_tokens_given() -> None:
    assert Schedule(("1/text/0.5", "3/last/0.25", "4/text/0.1")).plan().image_tokens(100, LAYERS) == [
        100, 50, 50, 25, 10, 10,
    ]  # fmt: skip


def test_a_plan_file_prunes_the_same(model: PreTrainedModel, tmp_path: Path) -> None:
    found = Schedule(("0/divprune/0.8", "2/text/0.4", "4/last/0.1"))
    PlanFile.of(found, LAYERS, "llava").write(tmp_path / "plan.json")
    again = method(tmp_path / "plan.json", LAYERS, architecture="llava")
    assert again == found
    assert kept(model, again) == kept(model, found)


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ((), "at increasing layers"),
        (("1/text",), "LAYER/CHOICE/KEEP"),
        (("one/text/0.5",), "LAYER/CHOICE/KEEP"),
        (("1/text/1.5",), "from 0 to 1"),
        (("1/text/nan",), "from 0 to 1"),
        (("-1/text/0.5",), "at least 0"),
        (("0/text/0.5",), "needs one before it"),
        (("3/text/0.5", "1/text/0.25"), "at increasing layers"),
        (("1/text/0.25", "3/text/0.5"), "keep ever less"),
        (("1/magic/0.5",), "unknown choice 'magic'"),
        (("1/himap/0.5",), "unknown choice 'himap'"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_refused(steps: tuple[str, ...], why: str) -> None:
    with pytest.raises(VisionFlowError, match=why):
        Schedule(steps)
