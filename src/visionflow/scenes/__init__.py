"""A small world in which everything is known: pictures, their scene graphs, questions and the patches that matter."""

from visionflow.scenes.draw import draw
from visionflow.scenes.lessons import FULL, Course, Lesson, course, drill, lessons
from visionflow.scenes.patches import object_patches, patch_owner, relevant_patches
from visionflow.scenes.questions import OPEN, Question
from visionflow.scenes.tasks import TASKS, Item, sample_item
from visionflow.scenes.world import (
    CELL,
    CELLS,
    COLOURS,
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

__all__ = [
    "CELL",
    "CELLS",
    "COLOURS",
    "FEW",
    "FULL",
    "MANY",
    "MARKS",
    "NO_MARK",
    "OPEN",
    "SHAPES",
    "SIZES",
    "SPLITS",
    "TASKS",
    "Course",
    "Item",
    "Lesson",
    "Question",
    "Scene",
    "SceneObject",
    "Split",
    "course",
    "draw",
    "drill",
    "lessons",
    "object_patches",
    "patch_owner",
    "relevant_patches",
    "sample_item",
    "sample_scene",
    "scene_rng",
]
