"""What became of the prompts of one HTTP request: noted where the engine answers, read where the response is sent."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

from visionflow.serving.requests import Served
from visionflow.serving.settings import Settings

HEADER = b"x-visionflow"
"""Of a response, once for each prompt: what was done, as JSON."""


@dataclass
class Answer:
    """One prompt, and what was generated for it so far.

    Attributes:
        served: what became of the prompt.
        greedy: there is one answer, and nothing in it is drawn.
        tokens: the first answer's tokens.
        finished: all of them are there.
    """

    served: Served
    greedy: bool
    tokens: list[int] = field(default_factory=list)
    finished: bool = False

    def add(self, tokens: Sequence[int], *, all_of_them: bool, finished: bool) -> None:
        """Note tokens: those that are new, or `all_of_them` so far."""
        if all_of_them:
            self.tokens.clear()
        self.tokens.extend(tokens)
        self.finished = finished


@dataclass
class Exchange:
    """One HTTP request.

    Attributes:
        settings: the server's; None before the engine is asked for an answer.
        answers: one for each prompt.
        crowded: whether the engine answers as many as it can at a time.
    """

    settings: Settings | None = None
    answers: list[Answer] = field(default_factory=list)
    crowded: Callable[[], bool] = lambda: False

    def headers(self) -> Iterator[tuple[bytes, bytes]]:
        """What the response says, where the server reports."""
        if self.settings is not None and self.settings.report:
            for answer in self.answers:
                yield HEADER, json.dumps(answer.served.report(self.settings)).encode()


CURRENT: ContextVar[Exchange | None] = ContextVar("visionflow_exchange", default=None)
"""The HTTP request that is being answered here; None where nobody asks."""
