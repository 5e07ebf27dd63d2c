"""A method is named in one way: text, dict, JSON and plan files go there and back."""

import json
from dataclasses import MISSING, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.matrix import METHODS as IN_MATRIX
from tests.matrix import NOTHING_DROPPED
from visionflow import FastV, HiMAP, Method, VisionFlowError, VisiPruner, method
from visionflow.core import Cut
from visionflow.methods import METHODS, PlanFile, parse, register
from visionflow.methods.fields import settings_of
from visionflow.methods.plan_file import SavedPlan
from visionflow.methods.registry import Registry

EVERY = [*IN_MATRIX, *NOTHING_DROPPED, VisiPruner(at_most=7, phases=()), VisiPruner(token_threshold=1e-7)]


@dataclass(frozen=True)
class Motley(Method):
    """A field of every kind.

    Attributes:
        whole, number: two
            of them.
        text: any ``text``.
        ways: how.
    """

    name: ClassVar[str] = "motley"

    whole: int
    number: float
    text: str
    truth: bool = True
    way: Literal["up", "down", 3] = "up"
    ways: tuple[Literal["up", "down"], ...] = ("up",)
    pair: tuple[int, str] = (1, "one")
    maybe: int | None = None
    said: str | None = None

    def cuts(self) -> tuple[Cut, ...]:
        """None."""
        return ()


TEXTS = st.text(st.characters(codec="ascii", min_codepoint=32), max_size=6) | st.sampled_from(
    ["none", "3", "true", "1e3"]
)
MOTLEY = st.builds(
    Motley,
    st.integers(-(2**63), 2**63),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
    st.booleans(),
    st.sampled_from(["up", "down", 3]),
    st.lists(st.sampled_from(["up", "down"]), max_size=3).map(tuple),
    st.tuples(st.integers(), TEXTS),
    st.none() | st.integers(),
    st.none() | TEXTS,
)


def there_and_back(chosen: Method) -> None:
    assert method(chosen.spec) == chosen
    travelled = json.loads(json.dumps(chosen.to_dict()))
    assert method(travelled) == Method.from_dict(travelled) == method(json.dumps(travelled)) == chosen


@pytest.mark.parametrize("chosen", EVERY, ids=str)
def test_every_method_goes_there_and_back(chosen: Method) -> None:
    there_and_back(chosen)
    depth = getattr(chosen, "depth", 32)
    assert parse(chosen.spec).of(depth, "embedded") == chosen  # nothing is left to the defaults of a model


@example(Motley(1, 2.0, 'a",b="c', pair=(1, "+"), said="none"))
@given(MOTLEY)
@settings(deadline=None, max_examples=40)
def test_every_kind_of_field_goes_there_and_back(chosen: Motley) -> None:
    there_and_back(chosen)


def test_what_is_not_said_suits_the_model() -> None:
    assert method("himap", 32) == HiMAP(2, 0.5, 8, 0.75)
    assert method("himap:k2=5,deep_criterion=received", 8) == HiMAP(2, 0.5, 5, 0.75, "received")
    assert method("visipruner", 12, "embedded").spec == (
        "visipruner:shallow_layers=2,layer_threshold=0.801,token_threshold=0.0057,token_scale=relative"
    )
    assert method(FastV(3, 0.5)) == method("fastv:k=3:r=0.5") == method(" fastv: k = 3 , r = .5 ") == FastV(3, 0.5)


@pytest.mark.parametrize("name", METHODS)
def test_what_depends_on_the_model_is_always_said(name: str) -> None:
    of = METHODS[name]
    usual = {*of.defaults(8), *of.defaults(32), *of.defaults(12, "embedded")}
    assert {each for each in usual if settings_of(of)[each].default is not MISSING} <= set(of.always_said)


def test_every_field_is_described() -> None:
    assert {name: each.help for name, each in settings_of(Motley).items() if each.help} == {
        "whole": "two of them.", "number": "two of them.", "text": "any text.", "ways": "how.",
    }  # fmt: skip
    for of in METHODS.values():
        assert all(each.help for each in settings_of(of).values()), of


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("hymap", "unknown method 'hymap': choose one of himap, fastv"),
        ("x" * 9999, f"unknown method {'x' * 60!r}: choose one of"),
        ("fastv", "fastv needs k, r: say fastv:k=...,r=..., or give num_layers"),
        ("fastv:k=3", "fastv needs r: say fastv:r=..."),
        ("fastv:q=3", "'q' is no setting of fastv: choose of k, r"),
        ("fastv:k", "'k' is no setting of fastv: choose of k, r, as in k=2"),
        ("fastv:k=3,k=4,r=0", "k of fastv is given twice"),
        ("fastv:k=two,r=0", "k must be a whole number, not 'two'"),
        ("fastv:k=2,r=nan", "r must be a finite number, not 'nan'"),
        ("fastv:k=2,r=1", "r is the fraction of image tokens dropped"),
        ("himap:deep_criterion=both", "deep_criterion must be one of paid, received, not 'both'"),
        (
            "visipruner:phases=middle+late",
            "phases must be one of shallow, middle, deep, joined by +, not 'middle+late'",
        ),
        ("visipruner:at_most=few", "at_most must be a whole number or none, not 'few'"),
        ({"name": "fastv", "k": "3", "r": 0.5}, "k must be a whole number, not '3'"),
        ({"name": "fastv", "k": True, "r": 0.5}, "k must be a whole number, not True"),
        ({"k": 3}, "a method as a dict needs its 'name'"),
        ('{"name"', "is not valid JSON"),
        ("nowhere/plan.json", "cannot read the plan nowhere/plan.json"),
        ("no.module:Toy", "cannot load no.module:Toy: there is no module no"),
        ("tests.matrix:Toy", "cannot load tests.matrix:Toy: tests.matrix has no Toy"),
        ("tests.matrix:Prompt", "tests.matrix:Prompt is no method"),
    ],
)
def test_what_is_refused(what: Any, says: str) -> None:
    with pytest.raises(VisionFlowError) as refused:
        method(what)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_settings_that_suit_no_depth_are_refused_before_a_model_is_known() -> None:
    parse("visipruner:fallback_layer=3").check()  # in 8 layers, not in 1000
    parse("himap:k2=30").check()
    with pytest.raises(VisionFlowError, match="k1 must be smaller than k2"):
        parse("himap:k1=8").check()


@pytest.mark.parametrize("chosen", EVERY, ids=str)
def test_a_plan_file_gives_what_was_saved(chosen: Method, tmp_path: Path) -> None:
    path, depth = tmp_path / "plan.json", getattr(chosen, "depth", 12)
    PlanFile.of(chosen, depth, "llava").write(path)
    assert method(path) == method(str(path)) == method(path, depth, architecture="llava") == chosen
    assert method(path).plan() == chosen.plan()
    assert method(json.loads(path.read_text())) == method(path.read_text()) == chosen


@pytest.mark.parametrize("change", [{"method": {"name": "gone", "k": 3}}, {"method": FastV(4, 0.5).to_dict()}])
def test_a_plan_outlives_its_method(change: dict[str, Any]) -> None:
    """Of a plug-in that is not installed, or of a version in which the method makes another plan."""
    saved = replace(PlanFile.of(FastV(3, 0.5), 12, "llava"), **change).to_dict()
    found = method(saved, 12)
    assert isinstance(found, SavedPlan)
    assert found.plan() == FastV(3, 0.5).plan()
    there_and_back(found)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"num_layers": 13}, "the plan is for 13 decoder layers, the model has 12: make one for it"),
        (
            {"architecture": "qwen2_vl"},
            "the plan is for the architecture qwen2_vl, the model is llava: make one for it",
        ),
        ({"schema": 2}, "has schema 2, and this version of visionflow knows 1"),
        ({"plan": None}, "is no plan: it needs schema, method, plan, num_layers, architecture"),
        ({"method": {"name": "gone"}, "plan": {"form": "Gone"}}, "unknown form 'Gone'"),
    ],
)
def test_another_model_is_refused(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(PlanFile.of(FastV(3, 0.5), 12, "llava").to_dict() | change))
    with pytest.raises(VisionFlowError, match=says):
        method(path, 12, architecture="llava")


def test_a_plan_file_takes_no_further_settings(tmp_path: Path) -> None:
    saved = PlanFile.of(FastV(3, 0.5), 12, "llava").to_dict()
    with pytest.raises(VisionFlowError, match="k of fastv is given twice"):
        parse(saved).having({"k": 4})


def test_a_name_is_given_once() -> None:
    registry = Registry({"fastv": "visionflow.methods.fastv:FastV"})
    registry.add(FastV)
    registry.add(Motley)
    assert list(registry) == ["fastv", "motley"]
    with pytest.raises(VisionFlowError, match="cannot be called 'motley': that is "):
        registry.add(type("Other", (Motley,), {}))


def test_a_method_is_registered_by_a_decorator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METHODS, "_registered", {})
    assert Motley(1, 2.0, "a").spec.startswith(f"{__name__}:Motley:whole=1,")
    assert register(Motley) is Motley
    assert METHODS["motley"] is Motley
    assert method("motley:whole=1,number=2,text=a").spec == "motley:whole=1,number=2.0,text=a"
