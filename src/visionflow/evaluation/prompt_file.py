"""A user's own prompts without answers: a .jsonl file with a picture and a question on each line."""

import json
from pathlib import Path
from typing import Any

from visionflow.errors import VisionFlowError
from visionflow.evaluation.samples import Sample, Suite
from visionflow.loading.pictures import read_picture

TASK = "prompts"
_LINE = '{"image": "picture.png", "question": "..."}'


def prompts_in(path: Path) -> Suite:
    """The prompts of a file, in their order; a path of a picture is relative to the file. Nothing is right or wrong.

    Raises:
        VisionFlowError: the file cannot be read, holds no prompt, or a line is none; of a picture, when it is asked
            for, that it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise VisionFlowError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        raise VisionFlowError(f"{path} holds no prompts: write {_LINE} on each line")
    found = [_prompt(line, number, path) for number, line in lines]
    return Suite(f"prompts:{path.name}", {TASK: "words"}, lambda task, number: found[number], {TASK: len(found)})


def _prompt(line: str, number: int, path: Path) -> Sample:
    try:
        content: Any = json.loads(line)
        image, question = content["image"], content["question"]
        sound = isinstance(image, str) and isinstance(question, str)
    except (ValueError, TypeError, KeyError):
        sound = False
    if not sound:
        raise VisionFlowError(f"line {number} of {path} is no prompt: write {_LINE}")
    source = image if "://" in image else str(path.parent / image)
    return Sample(
        id=f"{TASK}-{number}",
        task=TASK,
        kind=TASK,
        form="words",
        question=question,
        prompt=question,
        gold=(),
        options=(),
        objects=(),
        images=lambda: [read_picture(source)],
        relevant=None,
    )
