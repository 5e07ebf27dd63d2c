"""A share of the pruned requests answered dense as well, when the client has its answer: how far both agree.

The request is asked again as the client wrote it, inside the server. It is greedy then; where the client's own answer
was drawn, it is asked twice, pruned and dense, for of two draws nobody could say why they differ.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from visionflow.serving.exchange import CURRENT, Exchange
from visionflow.serving.settings import KEY, SHADOW

PATHS = ("/v1/chat/completions", "/v1/completions")
"""Whose requests are asked again."""

Message = MutableMapping[str, Any]
Application = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]
"""Of ASGI: ``(scope, receive, send)``."""


@dataclass(frozen=True)
class Agreement:
    """A pruned answer beside a dense one.

    Attributes:
        outcome: "same", "other", "failed" where there was no second answer, "skipped" where the server had no room.
        tokens: of the pruned answer.
        same: of these, those before the first that the dense answer has not.
    """

    outcome: str
    tokens: int = 0
    same: int = 0

    @classmethod
    def of(cls, pruned: list[int], dense: list[int]) -> "Agreement":
        """How far two answers agree."""
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(pruned, dense, strict=False)))
        return cls("same" if pruned == dense else "other", len(pruned), same)


class Shadow:
    """Asks again, one request at a time."""

    def __init__(
        self, application: Application, tell: Callable[[Agreement], None], draw: Callable[[], float] = random.random
    ) -> None:
        """Ask `application`, and `tell` how far the answers agree, of requests for which `draw` is below the share."""
        self._application = application
        self._tell = tell
        self._draw = draw
        self.running: asyncio.Task[None] | None = None

    def consider(self, scope: Message, body: bytes, exchange: Exchange) -> None:
        """Look at a request that was answered; returns at once."""
        if scope["path"] not in PATHS or exchange.settings is None or len(exchange.answers) != 1:
            return
        (answer,) = exchange.answers
        if not (answer.finished and answer.served.pruned and self._draw() < exchange.settings.shadow):
            return
        if exchange.crowded() or (self.running is not None and not self.running.done()):
            self._tell(Agreement("skipped"))
            return
        self.running = asyncio.get_running_loop().create_task(
            self._compare(scope, json.loads(body), answer.tokens if answer.greedy else None)
        )

    async def _compare(self, scope: Message, asked: dict[str, Any], pruned: list[int] | None) -> None:
        try:
            dense = await self._answer(scope, asked, SHADOW)
            if pruned is None:
                pruned = await self._answer(scope, asked, None)
            self._tell(Agreement.of(pruned, dense))
        except Exception:  # no client waits for it, and none may be harmed
            self._tell(Agreement("failed"))

    async def _answer(self, scope: Message, asked: dict[str, Any], says: str | None) -> list[int]:
        """The tokens of the greedy answer to what was `asked`, the request saying of visionflow what is given."""
        asked = asked | {"stream": False, "stream_options": None, "temperature": 0, "n": 1}
        if says is not None:
            asked["vllm_xargs"] = (asked.get("vllm_xargs") or {}) | {KEY: says}
        body, exchange = json.dumps(asked).encode(), Exchange()
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])
        headers = [(name, value) for name, value in scope["headers"] if name.lower() != b"content-length"]

        async def receive() -> Message:
            message = next(messages, None)
            return message if message is not None else await asyncio.Future()  # nobody hangs up

        async def send(message: Message) -> None:
            """Nobody listens."""

        CURRENT.set(exchange)
        length = (b"content-length", str(len(body)).encode())
        await self._application({**scope, "headers": [*headers, length]}, receive, send)
        (answer,) = exchange.answers
        return answer.tokens
