"""A small world in which everything is known: pictures, their scene graphs, questions and the patches that matter."""

from visionflow.scenes.dialogue import Turn
from visionflow.scenes.draw import draw
from visionflow.scenes.glyphs import LETTERS_DRAWN
from visionflow.scenes.ground import GROUNDS, ground_at
from visionflow.scenes.lessons import Course, Lesson, course, lessons, shared_lessons
from visionflow.scenes.litter import LITTER
from visionflow.scenes.patches import object_patches, patch_owner, relevant_patches
from visionflow.scenes.questions import OPEN, Question
from visionflow.scenes.sampling import WORDS, sample_picture
from visionflow.scenes.tasks import TASKS, Item
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
    sample_scene,
    scene_rng,
)
from visionflow.scenes.worlds import WORLDS, sample_item

__all__ = [
    "CELL",
    "CELLS",
    "COLOURS",
    "DIGITS",
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
    "WORLDS",
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
    "ground_at",
    "lessons",
    "object_patches",
    "patch_owner",
    "relevant_patches",
    "sample_item",
    "sample_picture",
    "sample_scene",
    "scene_rng",
    "shared_lessons",
]
