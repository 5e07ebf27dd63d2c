"""What a server is asked for becomes a method, or one sentence that says what is wrong."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from tests.matrix import LAYERS, METHODS
from visionflow import FastV, HiMAP, Method
from visionflow.core import Cut, Features, MaxMin, Ratio
from visionflow.core.cutting import refusal
from visionflow.errors import VisionFlowError
from visionflow.serving.settings import CANNOT, Settings

DEPTH = 12
IMAGE = 99


def settings(given: Any, depth: int = DEPTH) -> Settings:
    return Settings.read(given, depth, (IMAGE,), 1000)


@pytest.mark.parametrize(
    "given",
    [
        "himap:k1=3,r1=0.6,k2=5,r2=0.7",
        {"method": "himap:k1=3,r1=0.6,k2=5,r2=0.7"},
        {"method": "himap", "k1": 3, "r1": 0.6, "k2": 5, "r2": 0.7},
    ],
)
def test_a_method_is_named_in_three_ways(given: Any) -> None:
    assert settings(given).method == HiMAP(3, 0.6, 5, 0.7)


def test_options_that_are_not_given_suit_the_depth() -> None:
    assert settings("fastv").method == FastV(2, 0.5)
    assert settings("himap", depth=4).cut_layers == (1, 2)


def test_the_report_is_asked_for_beside_the_method() -> None:
    assert settings({"method": "fastv", "report": True}).report
    assert not settings("fastv").report
    assert settings({"method": "fastv", "shadow": 0.25}).shadow == 0.25
    assert settings("fastv").shadow == 0


def test_fewer_blocks_are_asked_for_beside_the_method() -> None:
    assert settings({"method": "fastv", "shrink_kv": True}).shrink_kv
    assert not settings("fastv").shrink_kv
    with pytest.raises(VisionFlowError, match="shrink_kv is true or false, not 1"):
        settings({"method": "fastv", "shrink_kv": 1})


@dataclass(frozen=True)
class ByKeys(Method):
    """Decides on the keys of a layer."""

    name: ClassVar[str] = "by-keys"

    def cuts(self) -> tuple[Cut, ...]:
        """One cut."""
        return (Cut(2, Ratio(0.5), Features("key"), MaxMin()),)


def test_keys_of_all_heads_are_not_in_one_of_several_processes() -> None:
    assert Settings.of(ByKeys(), DEPTH, (IMAGE,), 1000).cut_layers == (2,)
    with pytest.raises(VisionFlowError, match="it decides on the keys of all heads"):
        Settings.of(ByKeys(), DEPTH, (IMAGE,), 1000, processes=2)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"k": 3}, "needs a method"),
        ("fastw", "unknown method 'fastw'"),
        (7, "needs a method"),
        ({"method": "fastv", "report": "yes"}, "true or false"),
        ({"method": "fastv", "shadow": 1.5}, "from 0 to 1, not 1.5"),
        ({"method": "fastv", "shadow": True}, "from 0 to 1, not True"),
        ({"method": "fastv", "k1": 3}, "'k1' is no setting of fastv"),
        ("fastv:k", "as in k=2"),
        ("fastv:r=1.5", "0 <= r < 1"),
        ("vtw:k=12", "beyond the model's 12 decoder layers"),
        ("visipruner", "depends on activations"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(given: Any, why: str) -> None:
    with pytest.raises(VisionFlowError) as told:
        settings(given)
    assert why in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_every_method_is_served_or_refused_by_name(method: Method) -> None:
    if refusal(method.plan(), "", CANNOT) is None:  # those are compared with transformers in tests/vllm
        assert settings(method.spec, LAYERS).method == method
        return
    with pytest.raises(VisionFlowError, match=f"a server with method {method.name} cannot carry this out"):
        settings(method.spec, LAYERS)


def test_a_request_has_the_servers_cuts_or_its_own_at_the_same_layers() -> None:
    server = settings("himap:k1=2,r1=0.5,k2=4,r2=0.75")
    assert server.asked(None) == server.asked("on") == server.plan.cuts
    assert server.asked("off") is server.asked("shadow") is None
    assert server.asked("r1=0.7") == HiMAP(2, 0.7, 4, 0.75).cuts()
    assert server.asked("fastv:k=4,r=0.5") == (None, *FastV(4, 0.5).cuts())


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("maybe", "unknown method 'maybe'"),
        ("r1=1.0", "0 <= r1 < 1"),
        ("r3=0.7", "'r3' is no setting of himap"),
        ("k1=3", "cuts before layer 2 and 4, and no request can cut before layer 3"),
        (3, '"on", "off"'),
        ("os.path:join", "unknown method 'os.path'"),
        ("plan.json", "unknown method 'plan.json'"),
    ],
)
def test_what_a_request_cannot_have_is_refused(asked: Any, why: str) -> None:
    with pytest.raises(VisionFlowError) as told:
        settings("himap:k1=2,r1=0.5,k2=4,r2=0.75").asked(asked)
    assert why in str(told.value)
