"""The two worlds: the plain one, which the shipped model knows, and the crowded one, which its successor learns.

An item is decided by `(world, task, split, number)` alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from numpy.random import Generator

from visionflow.scenes.conversations import CONVERSATIONS
from visionflow.scenes.knowledge import knowledge
from visionflow.scenes.lessons import MAKERS
from visionflow.scenes.places import ground, half, quarter
from visionflow.scenes.questions import colour, comparison, count, digit, mark, odd_one_out, relation, shape
from visionflow.scenes.reading import word
from visionflow.scenes.sampling import sample_picture
from visionflow.scenes.tasks import TASKS, Item, Task, captions, choice, exists, opened, science
from visionflow.scenes.world import FEW, Scene, Split, sample_scene, scene_rng


@dataclass(frozen=True)
class World:
    """How a scene with so many objects is drawn by lot, and the tasks about scenes."""

    sample: Callable[[Generator, tuple[int, int]], Scene]
    tasks: dict[str, Task]


_MANY = (6, 16)
_CHOICE = (count, colour, shape, mark, odd_one_out, digit, word, ground)
_SCIENCE = (knowledge, relation, colour, knowledge, comparison, count, quarter, half)

WORLDS: dict[str, World] = {
    "plain": World(sample_scene, TASKS),
    "crowded": World(
        sample_picture,
        {
            "choice": Task(_MANY, partial(choice, makers=_CHOICE)),
            "science": Task(_MANY, partial(science, makers=_SCIENCE)),
            "existence": Task(_MANY, exists),
            "caption": Task(FEW, captions),
            "open": Task(_MANY, partial(opened, makers=tuple(MAKERS.values()))),
        },
    ),
}


def tasks_of(world: str) -> tuple[str, ...]:
    """Its tasks by name, those of several pictures or turns among them."""
    return (*WORLDS[world].tasks, *(CONVERSATIONS if world == "crowded" else ()))


def sample_item(task: str, split: Split, number: int, world: str = "plain") -> tuple[Scene, Item]:
    """Item `number` of a task with its scene; scenes are drawn until one allows the item."""
    chosen = WORLDS[world]
    rng = scene_rng(split, number * len(TASKS) + list(TASKS).index(task))
    while True:
        scene = chosen.sample(rng, chosen.tasks[task].between)
        item = chosen.tasks[task].make(scene, rng, number)
        if item is not None:
            return scene, item
