"""Tasks of more than one picture or turn. An item is a lesson: its last turn is asked, those before it are given."""

from visionflow.scenes.lessons import Lesson, lesson_about
from visionflow.scenes.sampling import sample_scene
from visionflow.scenes.tasks import TASKS
from visionflow.scenes.world import MANY, Scene, Split, scene_rng

CONVERSATIONS: dict[str, tuple[str, ...]] = {
    "pair": ("in-picture", "which-picture", "more-in"),
    "turns": ("about-one", "counted"),
}
"""The tasks, and the kinds of lessons that they deal out in turn."""

EVERY_TASK = (*TASKS, *CONVERSATIONS)

_PICTURES = {"pair": 2, "turns": 1}
_APART = 2**40  # from the streams of all other items and lessons


def sample_conversation(task: str, split: Split, number: int) -> tuple[tuple[Scene, ...], Lesson]:
    """Item `number` of a task, with its scenes; they are drawn until they allow it."""
    place = list(CONVERSATIONS).index(task)
    rng = scene_rng(split, _APART + number * len(CONVERSATIONS) + place)
    kind = CONVERSATIONS[task][number % len(CONVERSATIONS[task])]
    while True:
        scenes = tuple(sample_scene(rng, MANY) for _ in range(_PICTURES[task]))
        lesson = lesson_about(kind, scenes, rng)
        if lesson is not None and (task != "turns" or len(lesson.turns) > 1):
            return scenes, lesson
