"""One model, one question at a time, and the pages of the latest ones."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from threading import Lock
from typing import Any

from visionflow.app.asking import Asked
from visionflow.cost.shape import DecoderShape
from visionflow.engines.hf.layer_kinds import depth_of
from visionflow.errors import VisionFlowError
from visionflow.evaluation.budget import Budget, Lengths
from visionflow.flow.lengths import tokens_of
from visionflow.loading.models import Loaded
from visionflow.loading.prompts import make_prompt
from visionflow.methods import Method
from visionflow.report.look import look

REMEMBERED = 20
"""Pages that are held, some megabytes each at most; the oldest goes."""


@dataclass(frozen=True)
class Looked:
    """One question that was answered.

    Attributes:
        number: from 1, in the order of the session.
        when: the time of day.
        question: as it was asked.
        answers: by method, the dense one first.
        page: of `visionflow.look`.
    """

    number: int
    when: str
    question: str
    answers: dict[str, str]
    page: str = field(repr=False)

    def told(self) -> dict[str, Any]:
        """All but the page, for the list."""
        return {"number": self.number, "when": self.when, "question": self.question, "answers": self.answers}


class Session:
    """Questions to one model, from any thread.

    Attributes:
        loaded: the model.
        step: what is being done; "" where nothing is.
    """

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.step = ""
        self._numbers = count(1)
        self._looked: deque[Looked] = deque(maxlen=REMEMBERED)
        self._one_at_a_time = Lock()

    @property
    def looked(self) -> list[Looked]:
        """What is remembered, the latest first."""
        return list(self._looked)[::-1]

    def page(self, number: int) -> str:
        """The page of one look.

        Raises:
            VisionFlowError: it is not remembered.
        """
        for each in self.looked:
            if each.number == number:
                return each.page
        raise VisionFlowError(f"look {number} is not there: the last {REMEMBERED} are kept until the app ends")

    def look(self, asked: Asked) -> Looked:
        """Answer the question, dense and with its method, and remember the page.

        Raises:
            VisionFlowError: as `visionflow.look` does, or the method cannot meet the budget.
        """
        with self._one_at_a_time:
            try:
                return self._look(asked)
            finally:
                self.step = ""

    def _look(self, asked: Asked) -> Looked:
        model, processor, name = self.loaded
        self._say("reading the prompt")
        inputs = make_prompt(model, processor, asked.pictures, asked.question, asked.max_new_tokens)
        method = self._method(asked, inputs)
        report = look(
            model,
            inputs,
            () if method is None else method,
            processor=processor,
            pictures=asked.pictures,
            question=asked.question,
            max_new_tokens=asked.max_new_tokens,
            blocks=asked.blocks,
            name=name,
            step=self._say,
        )
        answers = {run["method"] or "dense": run["answer"] for run in report.data["runs"]}
        when = datetime.now().strftime("%H:%M:%S")
        found = Looked(next(self._numbers), when, asked.question, answers, report.html())
        self._looked.append(found)
        return found

    def _method(self, asked: Asked, inputs: Any) -> Method | None:
        if asked.method is None:
            return None
        model, _, name = self.loaded
        method = asked.method.of(depth_of(model.config), name, model.config.model_type)
        if asked.budget is None:
            return method
        tokens = tokens_of(model, inputs)
        lengths = Lengths(tokens.system.counts[0], tokens.image.counts[0], tokens.instruction.counts[0])
        return Budget(asked.budget, DecoderShape.from_config(model.config), (lengths,)).met_by(method)

    def _say(self, step: str) -> None:
        self.step = step
