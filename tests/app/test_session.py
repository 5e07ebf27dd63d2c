"""What is offered, read and answered, without a server."""

import json
from io import BytesIO
from typing import Any

import pytest

from tests.report.look.pages import QUESTION, gradient
from tests.tiny import LAYERS
from visionflow import FastV, VisionFlowError
from visionflow.app import asking
from visionflow.app.offers import offers
from visionflow.app.session import Session
from visionflow.methods import METHODS, PlanFile


def encoded(width: int = 60, height: int = 40) -> bytes:
    content = BytesIO()
    gradient(width, height).save(content, "PNG")
    return content.getvalue()


PICTURE = [("wide.png", encoded())]
FORM = {"question": QUESTION, "max_new_tokens": "2"}


def test_every_method_is_offered_with_settings_that_it_takes(session: Session) -> None:
    offered = offers(session.loaded)
    json.dumps(offered)
    assert [each["name"] for each in offered["methods"]] == list(METHODS)
    for each in offered["methods"]:
        said = {f"set.{setting['name']}": setting["value"] for setting in each["settings"]}
        asked = asking.read({**FORM, "method": each["name"], **said}, PICTURE, [])
        assert asked.method is not None
        if all(said.values()):
            asked.method.of(LAYERS)


def test_settings_are_moved_in_ways_that_suit_them(session: Session) -> None:
    offered = {each["name"]: each for each in offers(session.loaded)["methods"]}
    kinds = {each["name"]: each["kind"] for each in offered["pyramiddrop"]["settings"] + offered["fastv"]["settings"]}
    own = {"layers": "text", "k": "layer", "r": "ratio", "when": "choice", "positions": "choice"}
    assert own.items() <= kinds.items()
    assert {each["name"]: each["kind"] for each in offered["himap"]["settings"]}["exclude_self"] == "flag"
    values = {each["name"]: each["value"] for each in offered["fastv"]["settings"]}
    assert (values["k"], values["r"]) == ("1", "0.5")  # a quarter of six layers


def test_a_look_is_remembered_with_its_answers_and_its_page(session: Session) -> None:
    looked = session.look(asking.read({**FORM, "method": "fastv", "set.k": "2", "set.r": "0.5"}, PICTURE, []))
    assert list(looked.answers) == ["dense", str(FastV(2, 0.5))]
    assert session.page(looked.number) == looked.page
    assert looked.page.startswith("<!doctype html>")
    assert [each.told()["question"] for each in session.looked] == [QUESTION]
    assert session.step == ""
    with pytest.raises(VisionFlowError, match="look 7 is not there"):
        session.page(7)


def test_a_budget_sets_the_ratios_and_keeps_the_layers(session: Session) -> None:
    form = {**FORM, "method": "fastv", "set.k": "2", "set.r": "0.1", "budget": "0.6"}
    method = next(name for name in session.look(asking.read(form, PICTURE, [])).answers if name != "dense")
    assert method.startswith("FastV(k=2, r=0.")
    assert method != str(FastV(2, 0.1))
    with pytest.raises(VisionFlowError, match=r"cannot get down to 1\.0% of the FLOPs: it takes \d+\.\d% at least"):
        session.look(asking.read({**form, "budget": "0.01"}, PICTURE, []))
    assert len(session.looked) == 1


def test_a_plan_file_is_read_and_one_of_another_depth_refused(session: Session) -> None:
    plan = json.dumps(PlanFile.of(FastV(2, 0.5), LAYERS, "llava").to_dict()).encode()
    asked = asking.read({**FORM, "method": "plan"}, PICTURE, [("plan.json", plan)])
    assert list(session.look(asked).answers) == ["dense", str(FastV(2, 0.5))]
    deeper = json.dumps(PlanFile.of(FastV(2, 0.5), LAYERS + 1, "llava").to_dict()).encode()
    with pytest.raises(VisionFlowError, match="the plan is for 7 decoder layers"):
        session.look(asking.read({**FORM, "method": "plan"}, PICTURE, [("plan.json", deeper)]))


@pytest.mark.parametrize(
    ("fields", "pictures", "plans", "says"),
    [
        ({"question": " "}, PICTURE, [], "the question is empty"),
        ({}, [], [], "there is no picture"),
        ({}, PICTURE * 9, [], "9 pictures are too many: drop 8 at most"),
        ({}, [("a.png", b"hello")], [], "a.png is not a picture"),
        ({"method": "nonesuch"}, PICTURE, [], "unknown method 'nonesuch'"),
        ({"method": "os:system"}, PICTURE, [], "unknown method 'os:system'"),
        ({"method": "fastv", "set.k": "two"}, PICTURE, [], "k must be a whole number, not 'two'"),
        ({"method": "fastv", "set.z": "2"}, PICTURE, [], "'z' is no setting of fastv"),
        ({"method": "plan"}, PICTURE, [], "there is no plan file"),
        ({"method": "plan"}, PICTURE, [("p.json", b"\xff")], "p.json is no plan"),
        ({"method": "plan"}, PICTURE, [("p.json", b"[]")], "p.json is no plan"),
        ({"budget": "half"}, PICTURE, [], "the budget must be a number, not 'half'"),
        ({"max_new_tokens": "513"}, PICTURE, [], "must be a whole number from 1 to 512, not '513'"),
        ({"max_new_tokens": "١"}, PICTURE, [], "must be a whole number"),
        ({"blocks": "-1"}, PICTURE, [], "the number of blocks must be a whole number"),
    ],
    ids=lambda value: None if isinstance(value, list) else str(value)[:40],
)
def test_what_is_wrong_is_said_in_a_sentence(fields: dict[str, str], pictures: Any, plans: Any, says: str) -> None:
    with pytest.raises(VisionFlowError, match=says) as caught:
        asking.read({**FORM, **fields}, pictures, plans)
    assert "\n" not in str(caught.value)


def test_a_picture_of_too_many_pixels_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MOST_PIXELS", 60 * 40 - 1)
    with pytest.raises(VisionFlowError, match=r"wide\.png has more than 0 million pixels: make it smaller"):
        asking.read(FORM, PICTURE, [])
