"""Answers on disk, so that a run that was stopped goes on: one line each, as soon as it is known.

lmms-eval keeps nothing before a run is over (its own response cache is filled after the last answer).
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from visionflow.journal import Line
from visionflow.lmms.questions import Answer, Question
from visionflow.store import Store


class Answers(Store):
    """The answers in a folder; each process adds to a file of its own and reads all of them at the start."""

    def __init__(self, folder: Path | None = None, run: Mapping[str, Any] | None = None, process: int = 0) -> None:
        """As `Store`; `process` is the number of this one among those that share the work."""
        name, shared = f"answers-{process}.jsonl", "answers-*.jsonl"
        super().__init__(itemgetter("key"), _is_sound, folder, run or {}, name, shared, "choose another folder")

    def keep(self, questions: Sequence[Question], answers: Sequence[Answer]) -> None:
        """Add the answers of a batch; raises as `add`."""
        self.add(
            {"key": asked.key, "task": asked.task, "number": asked.number, "answer": each.text, "facts": each.facts}
            for asked, each in zip(questions, answers, strict=True)
        )

    def to(self, question: Question) -> Answer:
        """The answer to a question that is known."""
        line = self.known[question.key]
        return Answer(line["answer"], line["facts"])


def _is_sound(line: Line) -> bool:
    kinds = {"key": str, "answer": str, "facts": dict}
    return all(isinstance(line.get(name), kind) for name, kind in kinds.items())
