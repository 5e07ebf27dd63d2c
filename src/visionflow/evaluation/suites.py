"""What is asked: the suites by name, and those in files."""

from functools import partial
from pathlib import Path

from visionflow.errors import VisionFlowError
from visionflow.evaluation.datafile import suite_in
from visionflow.evaluation.samples import FORMS, AnswerForm, Sample, Suite
from visionflow.scenes import (
    CONVERSATIONS,
    EVERY_TASK,
    Split,
    draw,
    overlapping,
    relevant_patches,
    sample_conversation,
    sample_item,
)


def suite_called(name: str) -> Suite:
    """The suite of that name, or in that file where it ends in .parquet.

    Raises:
        VisionFlowError: there is none, or it cannot be read.
    """
    if name.endswith(".parquet"):
        return suite_in(Path(name))
    if name not in SUITES:
        raise VisionFlowError(f"unknown suite {name!r}: choose one of {', '.join(SUITES)}, or a .parquet file")
    return SUITES[name]


def suite_to_tune_on(name: str) -> Suite:
    """The same for what is chosen before it is tested: of the generated world its validation split, never tested on.

    Raises:
        VisionFlowError: there is none, or it cannot be read.
    """
    return VALIDATION.get(name) or suite_called(name)


def _scenes(split: Split, task: str, number: int) -> Sample:
    """A sample of the generated world."""
    name = f"{task}-{number}" if split == "test" else f"{task}-{split}-{number}"
    return (_conversation if task in CONVERSATIONS else _item)(split, task, number, name)


def _item(split: Split, task: str, number: int, name: str) -> Sample:
    scene, item = sample_item(task, split, number)
    return Sample(
        id=name,
        task=task,
        kind=item.kind,
        form=FORMS[task],
        question=item.question,
        prompt=item.prompt,
        gold=item.gold,
        options=item.options,
        objects=tuple(each.name for each in scene.objects) if task == "caption" else (),
        images=lambda: [draw(scene)],
        relevant=lambda grid: relevant_patches(scene, item.about, grid, item.cells),
    )


def _conversation(split: Split, task: str, number: int, name: str) -> Sample:
    scenes, lesson = sample_conversation(task, split, number)
    *before, last = lesson.turns
    return Sample(
        id=name,
        task=task,
        kind=lesson.kind,
        form=FORMS[task],
        question=last.prompt,
        prompt=last.prompt,
        gold=(last.answer,),
        options=(),
        objects=(),
        images=lambda: [draw(scene) for scene in scenes],
        relevant=lambda grid: overlapping(lesson.shown, grid),
        before=tuple(text for turn in before for text in (turn.prompt, turn.answer)),
    )


_ASKED: dict[str, AnswerForm] = {task: FORMS[task] for task in EVERY_TASK}

SUITES: dict[str, Suite] = {"scenes": Suite("scenes", _ASKED, partial(_scenes, "test"))}

VALIDATION: dict[str, Suite] = {"scenes": Suite("scenes-validation", _ASKED, partial(_scenes, "validation"))}
"""By the name of a suite the questions that settings are chosen on."""
