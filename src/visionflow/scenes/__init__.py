"""A small world in which everything is known: pictures, their scene graphs, questions and the patches that matter."""

from visionflow.scenes.conversations import CONVERSATIONS, EVERY_TASK, sample_conversation
from visionflow.scenes.dialogue import Turn
from visionflow.scenes.draw import draw
from visionflow.scenes.glyphs import LETTERS_DRAWN
from visionflow.scenes.ground import GROUNDS, ground_at
from visionflow.scenes.lessons import Course, Lesson, course, lessons, shared_lessons
from visionflow.scenes.litter import LITTER
from visionflow.scenes.patches import object_patches, overlapping, patch_owner, relevant_patches
from visionflow.scenes.questions import Question
from visionflow.scenes.sampling import WORDS, example_scene, sample_scene
from visionflow.scenes.tasks import OPEN, TASKS, Item, sample_item
from visionflow.scenes.world import (
    CELL,
    CELLS,
    COLOURS,
    DIGITS,
    FEW,
    MANY,
    MARKS,
    NO_MARK,
    SHAPES,
    SIZES,
    SPLITS,
    Scene,
    SceneObject,
    Split,
    scene_rng,
)

__all__ = [
    "CELL",
    "CELLS",
    "COLOURS",
    "CONVERSATIONS",
    "DIGITS",
    "EVERY_TASK",
    "FEW",
    "GROUNDS",
    "LETTERS_DRAWN",
    "LITTER",
    "MANY",
    "MARKS",
    "NO_MARK",
    "OPEN",
    "SHAPES",
    "SIZES",
    "SPLITS",
    "TASKS",
    "WORDS",
    "Course",
    "Item",
    "Lesson",
    "Question",
    "Scene",
    "SceneObject",
    "Split",
    "Turn",
    "course",
    "draw",
    "example_scene",
    "ground_at",
    "lessons",
    "object_patches",
    "overlapping",
    "patch_owner",
    "relevant_patches",
    "sample_conversation",
    "sample_item",
    "sample_scene",
    "scene_rng",
    "shared_lessons",
]
