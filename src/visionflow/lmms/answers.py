"""Answers on disk, so that a run that was stopped goes on: one line each, as soon as it is known.

lmms-eval keeps nothing before a run is over (its own response cache is filled after the last answer).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from visionflow.errors import VisionFlowError
from visionflow.journal import Journal, whole_lines
from visionflow.lmms.questions import Answer, Question
from visionflow.lmms.run_file import claim


class Answers:
    """The answers in a folder; each process adds to a file of its own and reads all of them at the start.

    Attributes:
        known: by the key of the question.
    """

    def __init__(self, journal: Journal | None = None, known: dict[str, Answer] | None = None) -> None:
        self.known = known or {}
        self._journal = journal

    @classmethod
    def open(cls, folder: Path, run: Mapping[str, Any], process: int = 0) -> "Answers":
        """The answers in `folder`, begun anew or gone on with.

        Args:
            folder: made where it is missing.
            run: what decides the answers beside the questions; with another one they are not these answers.
            process: the number of this process among those that share the work.

        Raises:
            VisionFlowError: the folder cannot be written, is damaged, or belongs to another run; or another process
                adds to the same file.
        """
        try:
            claim(folder, run)
            own = Journal(folder / f"answers-{process}.jsonl")
            own.read(_is_sound)  # mended, so that what is appended stands by itself
            known: dict[str, Answer] = {}
            for file in sorted(folder.glob("answers-*.jsonl")):
                known |= {line["key"]: Answer(line["answer"], line["facts"]) for line in whole_lines(file, _is_sound)}
            return cls(own, known)
        except OSError as error:
            raise VisionFlowError(
                f"cannot keep answers in {folder} ({error.strerror or error}): choose another folder"
            ) from error

    def add(self, questions: Sequence[Question], answers: Sequence[Answer]) -> None:
        """Keep the answers of a batch.

        Raises:
            VisionFlowError: they cannot be written.
        """
        keys = [question.key for question in questions]
        self.known |= dict(zip(keys, answers, strict=True))
        if self._journal is None:
            return
        self._journal.append(
            {"key": key, "task": question.task, "number": question.number, "answer": each.text, "facts": each.facts}
            for key, question, each in zip(keys, questions, answers, strict=True)
        )


def _is_sound(line: Mapping[str, Any]) -> bool:
    kinds = {"key": str, "answer": str, "facts": dict}
    return all(isinstance(line.get(name), kind) for name, kind in kinds.items())
