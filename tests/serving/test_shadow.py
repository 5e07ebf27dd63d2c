"""Pruned requests are asked again when they were answered, and it is counted how far the answers agree."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from visionflow import FastV
from visionflow.serving.exchange import CURRENT, Answer, Exchange
from visionflow.serving.requests import Served
from visionflow.serving.settings import Settings
from visionflow.serving.shadow import Agreement, Message, Shadow

IMAGE = 99
SERVER = Settings(FastV(2, 0.5), 8, (IMAGE,), step_tokens=60, shadow=0.5)
PROMPT = [1, *[IMAGE] * 8, 5]
SCOPE = {"path": "/v1/chat/completions", "headers": [(b"Content-Length", b"7"), (b"x-id", b"3")]}
ASKED = {
    "messages": [],
    "stream": True,
    "stream_options": {"include_usage": True},
    "vllm_xargs": {"visionflow": "r=0.75"},
}


def exchange(greedy: bool = True, asked: str | None = None, finished: bool = True) -> Exchange:
    """A request that was answered with 1, 2, 3."""
    return Exchange(SERVER, [Answer(Served.of(SERVER, PROMPT, asked), greedy, [1, 2, 3], finished)])


class Server:
    """Answers with tokens; dense answers are other ones.

    Attributes:
        asked: the requests, with their headers.
    """

    def __init__(self, dense: Sequence[int] = (1, 2, 4)) -> None:
        self.asked: list[dict[str, Any]] = []
        self._dense = dense

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        body = (await receive())["body"]
        assert dict(scope["headers"]) == {b"x-id": b"3", b"content-length": str(len(body)).encode()}
        self.asked.append(json.loads(body))
        answering = CURRENT.get()
        assert answering is not None
        says = self.asked[-1]["vllm_xargs"]["visionflow"]
        if self._dense:
            made = self._dense if says == "shadow" else (1, 2, 4)
            answering.answers.append(Answer(Served.of(SERVER, PROMPT, says), True, list(made), True))


def agreements(server: Server, *exchanges: Exchange, draw: float = 0.1, path: str = SCOPE["path"]) -> list[Agreement]:
    """What a shadow tells of them, all of which come before the first is done."""
    told: list[Agreement] = []

    async def run() -> None:
        shadow = Shadow(server, told.append, lambda: draw)
        for each in exchanges:
            shadow.consider({**SCOPE, "path": path}, json.dumps(ASKED).encode(), each)
        assert server.asked == []  # nobody waits for it
        if shadow.running is not None:
            await shadow.running

    asyncio.run(run())
    return told


def test_a_pruned_request_is_asked_again_dense_and_greedy() -> None:
    server = Server()
    assert agreements(server, exchange()) == [Agreement("other", tokens=3, same=2)]
    (again,) = server.asked
    assert again == ASKED | {
        "stream": False,
        "stream_options": None,
        "temperature": 0,
        "n": 1,
        "vllm_xargs": {"visionflow": "shadow"},
    }


def test_equal_answers_are_the_same() -> None:
    assert agreements(Server([1, 2, 3]), exchange()) == [Agreement("same", tokens=3, same=3)]


def test_where_the_client_draws_both_answers_are_made() -> None:
    server = Server()
    assert agreements(server, exchange(greedy=False)) == [Agreement("same", tokens=3, same=3)]
    assert [each["vllm_xargs"]["visionflow"] for each in server.asked] == ["shadow", "r=0.75"]


@pytest.mark.parametrize(
    "answered",
    [exchange(asked="off"), exchange(finished=False), Exchange(), Exchange(SERVER, exchange().answers * 2)],
    ids=["dense", "cancelled", "never asked", "two prompts"],
)
def test_others_are_left_alone(answered: Exchange) -> None:
    assert agreements(Server(), answered) == []


def test_a_share_is_drawn() -> None:
    assert agreements(Server(), exchange(), draw=0.5) == []
    assert agreements(Server(), exchange(), path="/v1/responses") == []


def test_a_server_without_room_skips() -> None:
    full = exchange()
    full.crowded = lambda: True
    assert agreements(Server(), full) == [Agreement("skipped")]
    assert agreements(Server([1, 2, 3]), exchange(), exchange()) == [Agreement("skipped"), Agreement("same", 3, 3)]


def test_a_request_that_fails_harms_nobody() -> None:
    assert agreements(Server([]), exchange()) == [Agreement("failed")]


def test_responses_say_what_was_done_where_the_server_reports() -> None:
    assert list(exchange().headers()) == []
    reports = Exchange(Settings(FastV(2, 0.5), 8, (IMAGE,), 60, report=True), exchange().answers * 2)
    (name, value), _ = reports.headers()
    assert name == b"x-visionflow"
    assert json.loads(value)["kept"] == {"2": 4}


def test_tokens_come_one_by_one_or_all_so_far() -> None:
    answer = Answer(Served.of(SERVER, PROMPT), True)
    answer.add([1, 2], all_of_them=False, finished=False)
    answer.add([3], all_of_them=False, finished=False)
    assert (answer.tokens, answer.finished) == ([1, 2, 3], False)
    answer.add([1, 2, 3, 4], all_of_them=True, finished=True)
    assert (answer.tokens, answer.finished) == ([1, 2, 3, 4], True)
