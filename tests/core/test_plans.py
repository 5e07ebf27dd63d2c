"""Plans are data: equal, hashable, and the same after a journey in a pickle or in JSON."""

import json
import pickle
import subprocess
import sys

import pytest
import torch

from tests.matrix import METHODS
from visionflow import FastV, Method, VisionFlowError
from visionflow.core import (
    Attention,
    AwayFromMean,
    Block,
    Count,
    Cut,
    Features,
    Form,
    MaxMin,
    Plan,
    Positive,
    Ratio,
    Spaced,
    Top,
    Tower,
    Watch,
)
from visionflow.core.cutting import asked_of, refusal


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_a_plan_is_the_same_after_a_journey(method: Method) -> None:
    plan = method.plan()
    assert plan == method.plan()
    assert hash(plan) == hash(method.plan())
    assert pickle.loads(pickle.dumps(plan)) == plan
    there = json.loads(json.dumps(plan.to_dict()))
    assert Plan.from_dict(there) == plan
    assert hash(Plan.from_dict(there)) == hash(plan)


def test_plans_that_differ_are_not_equal() -> None:
    assert FastV(2, 0.5).plan() != FastV(2, 0.25).plan()
    assert Cut(2, Ratio(0.5), Attention("last", heads="max")) != Cut(2, Ratio(0.5), Attention("last"))


def test_every_form_travels() -> None:
    cuts = (
        Cut(0, Count(7), Tower("received")),
        Cut(1, Ratio(0.5), Attention("image", heads=(0.5, 0.25, 0.0, 0.25), when="entry")),
        Cut(3, Positive(), Features("hidden", AwayFromMean()), Top()),
        Cut(4, Ratio(0.25), Features("key"), MaxMin()),
    )
    plan = Plan(cuts, blocks=(Block(range(2), "image", "instruction"),))
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_a_plan_is_read_where_no_model_is() -> None:
    """In another process, which has imported neither a method nor transformers."""
    told = json.dumps(FastV(3, 0.5).plan().to_dict())
    code = (
        "import json, sys; from visionflow.core import Plan\n"
        "plan = Plan.from_dict(json.loads(sys.argv[1])); print(plan.cuts[0].layer, 'transformers' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code, told], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["3", "False"]


def test_what_cannot_travel_says_so() -> None:
    with pytest.raises(VisionFlowError, match="which cannot travel"):
        Plan(watches=(Watch(range(2), print),)).to_dict()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"form": "Rotio", "r": 0.5}, "unknown form 'Rotio'"),
        ({"form": "Ratio", "s": 0.5}, "Ratio does not fit"),
        ({"form": "Ratio", "r": 2}, "0 <= r < 1"),
        ({"form": "Ratio", "r": 0.5}, "is no Plan"),
    ],
)
def test_what_is_no_plan_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(VisionFlowError, match=message):
        Plan.from_dict(given)


def test_forms_are_known_by_one_name_each() -> None:
    assert all(form.__name__ == name for name, form in Form.known.items())


def test_evidence_of_a_layer_that_has_run_needs_one() -> None:
    for evidence, select in ((Attention("last"), Top()), (Features("key"), MaxMin())):
        with pytest.raises(VisionFlowError, match="k >= 1"):
            Cut(0, Ratio(0.5), evidence, select)
    assert Cut(0, Ratio(0.5), Attention("last", when="entry")).probed == 0


def test_evidence_that_does_not_show_what_a_choice_needs_is_refused() -> None:
    with pytest.raises(VisionFlowError, match="keeps by Ratio and Top needs scores, and Features shows features"):
        Cut(0, Ratio(0.5), Features("image"))
    with pytest.raises(VisionFlowError, match="MaxMin needs features, and Attention shows scores"):
        Cut(2, Ratio(0.5), Attention("last"), MaxMin())
    with pytest.raises(VisionFlowError, match="Positive and Spaced needs scores"):
        Cut(2, Positive(), Features("hidden"), Spaced())
    assert Cut(2, Ratio(0.5), Features("hidden"), Spaced()).select == Spaced()


def test_an_engine_refuses_by_reason() -> None:
    plan = Plan((Cut(2, Positive(), Attention("last")),))
    assert refusal(plan, "vLLM", ["unknown counts"]) == (
        "vLLM cannot carry this out: how much it keeps depends on activations"
    )
    assert refusal(FastV(2, 0.5).plan(), "vLLM", list(asked_of(plan))) is None


def test_counts_are_those_of_the_papers() -> None:
    assert [Ratio(0.5)(n) for n in (0, 1, 5, 576)] == [0, 1, 3, 288]
    assert [Count(0)(3), Count(5)(3), Count(2)(3)] == [0, 3, 2]
    assert torch.tensor(Ratio(0.29)(100)) == 71
