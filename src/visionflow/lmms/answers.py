"""Answers on disk, so that a run that was stopped goes on: one line each, as soon as it is known.

lmms-eval keeps nothing before a run is over (its own response cache is filled after the last answer).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from visionflow.errors import VisionFlowError
from visionflow.lmms.answering import Answer, Question
from visionflow.lmms.run_file import claim


class Answers:
    """The answers in a folder; each process adds to a file of its own and reads all of them at the start.

    Attributes:
        known: by the key of the question.
    """

    def __init__(self, file: Path | None = None, known: dict[str, Answer] | None = None) -> None:
        self.file = file
        self.known = known or {}

    @classmethod
    def open(cls, folder: Path, run: Mapping[str, Any], process: int = 0) -> "Answers":
        """The answers in `folder`, begun anew or gone on with.

        Args:
            folder: made where it is missing.
            run: what decides the answers beside the questions; with another one they are not these answers.
            process: the number of this process among those that share the work.

        Raises:
            VisionFlowError: the folder cannot be written, is damaged, or belongs to another run.
        """
        try:
            claim(folder, run)
            own = folder / f"answers-{process}.jsonl"
            _drop_half_line(own)
            known: dict[str, Answer] = {}
            for file in sorted(folder.glob("answers-*.jsonl")):
                known |= _read(file)
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
        if self.file is None:
            return
        lines = [
            {"key": key, "task": question.task, "number": question.number, "answer": each.text, "facts": each.facts}
            for key, question, each in zip(keys, questions, answers, strict=True)
        ]
        try:
            with self.file.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
        except OSError as error:
            raise VisionFlowError(
                f"cannot write {self.file} ({error.strerror or error}): make room and run again"
            ) from error


def _drop_half_line(file: Path) -> None:
    """Cut off what an interrupted process left, so that what is appended stands by itself."""
    if file.exists():
        content = file.read_bytes()
        file.write_bytes(content[: content.rfind(b"\n") + 1])


def _read(file: Path) -> dict[str, Answer]:
    """The whole lines of a file; the last one may still be being written."""
    content = file.read_bytes()
    try:
        lines = [json.loads(line) for line in content[: content.rfind(b"\n") + 1].decode().splitlines()]
        return {line["key"]: Answer(line["answer"], line["facts"]) for line in lines}
    except (ValueError, KeyError, TypeError) as error:
        raise VisionFlowError(f"{file} is damaged: put it back from a copy, or delete it") from error
