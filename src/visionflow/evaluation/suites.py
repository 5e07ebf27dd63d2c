"""What is asked: samples with what is right about them, from any suite, in one shape."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visionflow.errors import VisionFlowError

Form = Literal["letter", "yes_no", "words", "caption"]
"""How a task wants its answer, and so how it is scored."""

Relevance = Callable[[int], NDArray[np.bool_]]
"""From the grid's side g to the patches that an answer rests on, bool [g, g], row by row as the model sees them."""


@dataclass(frozen=True)
class Sample:
    """One question about one picture.

    Attributes:
        id: its name within the suite.
        task: the table it belongs to.
        kind: the kind of question within the task; of existence the sampling.
        form: the form of the answer.
        question: the question alone.
        prompt: all that the model is asked, with options and instructions.
        gold: the right answer (a letter, yes or no, a few words); of captions the references.
        options: the texts of A, B, C, ... of a multiple choice.
        objects: what a caption has to name, each thing as often as it is there.
        image: makes the picture.
        relevant: the patches that the answer rests on; None where nobody knows.
    """

    id: str
    task: str
    kind: str
    form: Form
    question: str
    prompt: str
    gold: tuple[str, ...]
    options: tuple[str, ...]
    objects: tuple[str, ...]
    image: Callable[[], Image.Image]
    relevant: Relevance | None


@dataclass(frozen=True)
class Suite:
    """A set of tasks, each with as many samples as one likes or as there are.

    Attributes:
        name: what records know it by; another name, other questions.
        tasks: the form of the answers of each task.
        sample: makes sample `number` of a task, the same one each time.
        counts: how many samples a task has, where that is not as many as one likes.
    """

    name: str
    tasks: Mapping[str, Form]
    sample: Callable[[str, int], Sample]
    counts: Mapping[str, int] = field(default_factory=dict)

    def samples(self, limit: int, tasks: Sequence[str] = ()) -> list[Sample]:
        """`limit` samples in all, task by task, as many of each as can be; of all tasks where none is named.

        A task with too few samples gives those it has, and no other task stands in for it.

        Raises:
            VisionFlowError: there is no such task, no question is asked, or a sample of a file is not sound.
        """
        for task in tasks:
            if task not in self.tasks:
                raise VisionFlowError(f"unknown task {task!r}: choose of {', '.join(self.tasks)}")
        if limit < 1:
            raise VisionFlowError(f"the limit is the number of questions, at least 1, not {limit}")
        chosen = [task for task in self.tasks if not tasks or task in tasks]
        shares = [limit // len(chosen) + (place < limit % len(chosen)) for place in range(len(chosen))]
        return [
            self.sample(task, number)
            for task, share in zip(chosen, shares, strict=True)
            for number in range(min(share, self.counts.get(task, share)))
        ]


def suite_called(name: str) -> Suite:
    """The suite of that name, or in that file where it ends in .parquet.

    Raises:
        VisionFlowError: there is none, or it cannot be read.
    """
    if name.endswith(".parquet"):
        from visionflow.evaluation.datafile import suite_in

        return suite_in(Path(name))
    if name not in SUITES:
        raise VisionFlowError(f"unknown suite {name!r}: choose one of {', '.join(SUITES)}, or a .parquet file")
    return SUITES[name]


FORMS: dict[str, Form] = {
    "choice": "letter",
    "science": "letter",
    "existence": "yes_no",
    "caption": "caption",
    "open": "words",
}
"""The form of the answers of every task that there is."""


def _scenes(task: str, number: int) -> Sample:
    """A sample of the generated world, from its test split."""
    from visionflow.scenes import draw, relevant_patches, sample_item

    scene, item = sample_item(task, "test", number)
    return Sample(
        id=f"{task}-{number}",
        task=task,
        kind=item.kind,
        form=FORMS[task],
        question=item.question,
        prompt=item.prompt,
        gold=item.gold,
        options=item.options,
        objects=tuple(each.name for each in scene.objects) if task == "caption" else (),
        image=lambda: draw(scene),
        relevant=lambda grid: relevant_patches(scene, item.about, grid),
    )


SUITES: dict[str, Suite] = {"scenes": Suite("scenes", FORMS, _scenes)}
