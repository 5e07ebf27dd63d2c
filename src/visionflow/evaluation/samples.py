"""The shape that every question comes in, whatever suite it is from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visionflow.errors import VisionFlowError
from visionflow.evaluation.answers import matches, naming, option_letter, yes_no

AnswerForm = Literal["letter", "yes_no", "words", "caption"]
"""How a task wants its answer, and so how it is scored."""

Relevance = Callable[[int], NDArray[np.bool_]]
"""From the grid's side g to the patches that an answer rests on, bool [g, g], row by row as the model sees them; of
several pictures bool [pictures, g, g]."""

FORMS: dict[str, AnswerForm] = {
    "choice": "letter",
    "science": "letter",
    "existence": "yes_no",
    "caption": "caption",
    "open": "words",
    "pair": "words",
    "turns": "words",
}
"""The form of the answers of every task that there is."""


@dataclass(frozen=True)
class Sample:
    """One question about a picture, or about several.

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
        images: makes the pictures.
        relevant: the patches that the answer rests on; None where nobody knows.
        before: earlier turns of the conversation, question and answer in turn.
    """

    id: str
    task: str
    kind: str
    form: AnswerForm
    question: str
    prompt: str
    gold: tuple[str, ...]
    options: tuple[str, ...]
    objects: tuple[str, ...]
    images: Callable[[], list[Image.Image]]
    relevant: Relevance | None
    before: tuple[str, ...] = ()

    def is_right(self, answer: str) -> bool:
        """Whether `answer` is the right one; of a caption, whether it names exactly the objects that are there.

        Letters are read by `option_letter`, yes and no under the strict convention, short answers by `matches`.
        """
        if self.form == "letter":
            return option_letter(answer, self.options) == self.gold[0]
        if self.form == "yes_no":
            return yes_no(answer) == (self.gold[0] == "yes")
        if self.form == "caption":
            return naming(answer, self.objects).exact
        return matches(answer, self.gold)


@dataclass(frozen=True)
class Suite:
    """A set of tasks, each with as many samples as one likes or as there are.

    Attributes:
        name: what records know it by; another name, other questions.
        tasks: the form of the answers of each task.
        sample: makes sample `number` of a task, the same one each time.
        counts: how many samples a task has, where that is not as many as one likes.
        kinds: the kinds of a task's samples, where they are known before the samples are made.
    """

    name: str
    tasks: Mapping[str, AnswerForm]
    sample: Callable[[str, int], Sample]
    counts: Mapping[str, int] = field(default_factory=dict)
    kinds: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def kind(self, task: str, number: int) -> str:
        """The kind of sample `number` of a task."""
        return self.kinds[task][number] if task in self.kinds else self.sample(task, number).kind

    def chosen(self, tasks: Sequence[str]) -> list[str]:
        """The tasks that are named, in the suite's order; all where none is.

        Raises:
            VisionFlowError: there is no such task.
        """
        for task in tasks:
            if task not in self.tasks:
                raise VisionFlowError(f"unknown task {task!r}: choose of {', '.join(self.tasks)}")
        return [task for task in self.tasks if not tasks or task in tasks]

    def samples(self, limit: int, tasks: Sequence[str] = ()) -> list[Sample]:
        """`limit` samples in all, task by task, as many of each as can be; of all tasks where none is named.

        A task with too few samples gives those it has, and no other task stands in for it.

        Raises:
            VisionFlowError: there is no such task, no question is asked, or a sample of a file is not sound.
        """
        chosen = self.chosen(tasks)
        if limit < 1:
            raise VisionFlowError(f"the limit is the number of questions, at least 1, not {limit}")
        shares = [limit // len(chosen) + (place < limit % len(chosen)) for place in range(len(chosen))]
        return [
            self.sample(task, number)
            for task, share in zip(chosen, shares, strict=True)
            for number in range(min(share, self.counts.get(task, share)))
        ]
