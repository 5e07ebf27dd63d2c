"""What the embedded model learns from: questions of all tasks about one scene, with the answers it should give."""

from dataclasses import dataclass

from numpy.random import Generator

from visionflow.scenes import phrases
from visionflow.scenes.captions import some_caption
from visionflow.scenes.tasks import TASKS, Item
from visionflow.scenes.world import FEW, Scene, pick

_MIX = (*("open",) * 6, *("existence",) * 4, *("choice",) * 2, "science")
_BARE = 0.4


@dataclass(frozen=True)
class Lesson:
    """A prompt and the answer to give."""

    prompt: str
    answer: str


def lessons(scene: Scene, rng: Generator, number: int) -> list[Lesson]:
    """So many different questions about the scene; one of a scene with few objects is for a caption."""
    learned: dict[str, Lesson] = {}
    if len(scene.objects) <= FEW[1]:
        prompt = phrases.CAPTION if rng.random() >= _BARE else pick(rng, phrases.DESCRIBE)
        learned[prompt] = Lesson(prompt, some_caption(scene, rng))
    while len(learned) < number:
        item = TASKS[pick(rng, _MIX)].make(scene, rng, int(rng.integers(2**30)))
        if item is not None:
            lesson = _lesson(item, rng)
            learned.setdefault(lesson.prompt, lesson)
    return list(learned.values())


def _lesson(item: Item, rng: Generator) -> Lesson:
    """As the task asks it, or, where that needs no options, now and then as a user would type it."""
    if item.task == "existence" and rng.random() < _BARE:
        return Lesson(phrases.as_typed(item.question, rng), item.gold[0])
    return Lesson(item.prompt, item.gold[0])
