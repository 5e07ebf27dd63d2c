"""What the embedded model learns from: questions of all tasks about one scene, with the answers it should give."""

from dataclasses import dataclass, replace

from numpy.random import Generator

from visionflow.scenes import phrases
from visionflow.scenes.captions import some_caption
from visionflow.scenes.tasks import TASKS, Item
from visionflow.scenes.world import FEW, MANY, Scene, pick


@dataclass(frozen=True)
class Lesson:
    """A prompt and the answer to give."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class Course:
    """What is taught at some time.

    Attributes:
        between: fewest and most objects in a scene.
        tasks: the tasks that questions are drawn from, each as often as it stands there.
        bare: how often a question that needs no options is asked as a user would type it, without instructions.
    """

    between: tuple[int, int]
    tasks: tuple[str, ...]
    bare: float


FULL = Course((FEW[0], MANY[1]), (*("open",) * 6, *("existence",) * 4, *("choice",) * 2, "science"), 0.4)
"""Everything, in pictures with few or many objects."""

_GROWN, _COMPLETE = 0.5, 0.3


def course(progress: float) -> Course:
    """From few objects and short questions to everything; `progress` is 0 at the start of the lessons and 1 at the end.

    To look something up among four objects is soon learnt, and then only has to be sharpened; among fourteen it takes
    many times as long to be found at all.
    """
    most = round(FEW[1] + (MANY[1] - FEW[1]) * min(1.0, progress / _GROWN))
    if progress < _COMPLETE:
        return Course((FEW[0], most), (*("open",) * 2, "existence"), 0.95)
    return replace(FULL, between=(FEW[0], most))


def lessons(scene: Scene, rng: Generator, number: int, taught: Course = FULL) -> list[Lesson]:
    """So many different questions about the scene; one of a scene with few objects is for a caption."""
    learned: dict[str, Lesson] = {}
    if len(scene.objects) <= FEW[1]:
        prompt = phrases.CAPTION if rng.random() >= taught.bare else pick(rng, phrases.DESCRIBE)
        learned[prompt] = Lesson(prompt, some_caption(scene, rng))
    while len(learned) < number:
        item = TASKS[pick(rng, taught.tasks)].make(scene, rng, int(rng.integers(2**30)))
        if item is not None:
            lesson = _lesson(item, rng, taught.bare)
            learned.setdefault(lesson.prompt, lesson)
    return list(learned.values())


def _lesson(item: Item, rng: Generator, bare: float) -> Lesson:
    """As the task asks it, or, where that needs no options, as a user would type it."""
    if item.task == "existence" and rng.random() < bare:
        return Lesson(phrases.as_typed(item.question, rng), item.gold[0])
    return Lesson(item.prompt, item.gold[0])
