"""What a request becomes is a function of its prompt and of what it says alone."""

import pytest

from visionflow import HiMAP
from visionflow.serving.requests import DENSE, Served
from visionflow.serving.settings import Settings

IMAGE = 99
SERVER = Settings(HiMAP(2, 0.5, 4, 0.75), 8, (IMAGE,), step_tokens=60)
PROMPT = [1, 5, *[IMAGE] * 16, 6, 7, 8]


def test_counts_are_those_of_the_plan() -> None:
    served = Served.of(SERVER, PROMPT)
    assert served.pruned
    assert (served.image_tokens, served.kept) == (16, (8, 2))
    assert [served.dropped(stage) for stage in range(3)] == [0, 8, 14]
    assert served.tokens.instruction.counts == (3,)
    assert [served.kept[0], served.kept[1]] == SERVER.plan.image_tokens(16, 8)[2:5:2]


def test_a_request_may_have_its_own_ratios() -> None:
    assert Served.of(SERVER, PROMPT, "r1=0.75").kept == (4, 1)
    assert Served.of(SERVER, PROMPT, "fastv:k=4,r=0.5").kept == (16, 8)


@pytest.mark.parametrize(
    ("outcome", "prompt", "asked", "logprobs"),
    [
        ("text", [1, 5, 6], None, False),
        ("off", PROMPT, "off", False),
        ("shadow", PROMPT, "shadow", False),
        ("no_question", [1, 5, *[IMAGE] * 16], None, False),
        ("prompt_logprobs", PROMPT, None, True),
        ("too_long", PROMPT + [5] * 60, None, False),
        ("nothing_to_drop", PROMPT, "r1=0,r2=0", False),
    ],
)
def test_why_a_request_is_served_dense(outcome: str, prompt: list[int], asked: str | None, logprobs: bool) -> None:
    served = Served.of(SERVER, prompt, asked, logprobs)
    assert (served.outcome, served.pruned) == (outcome, False)
    assert served.kept == (served.image_tokens,) * 2
    assert served.dropped(1) == served.dropped(2) == 0
    assert served.report(SERVER)["dense"] == DENSE[outcome]


def test_text_between_and_after_pictures_is_the_question() -> None:
    served = Served.of(SERVER, [1, IMAGE, IMAGE, 5, IMAGE, IMAGE])
    assert served.pruned
    assert served.tokens.instruction.counts == (1,)


def test_the_report_says_what_was_kept_and_what_the_cache_is_spared() -> None:
    report = Served.of(SERVER, PROMPT).report(SERVER)
    assert report["kept"] == {"2": 8, "4": 2}
    assert report["dense"] is None
    assert report["kv_token_layers_saved"] == 2 * 8 + 4 * 14
    assert report["kv_saved"] == round(72 / (21 * 8), 4)
