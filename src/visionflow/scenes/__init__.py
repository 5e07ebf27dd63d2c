"""A small world in which everything is known: pictures, their scene graphs, questions and the patches that matter."""

from visionflow.scenes.draw import draw, silhouette
from visionflow.scenes.patches import object_patches, patch_owner, relevant_patches
from visionflow.scenes.questions import KINDS, Question, ask, questions
from visionflow.scenes.world import COLOURS, SHAPES, SIDE, SPLITS, Scene, SceneObject, Split, sample_scene, scene_rng

__all__ = [
    "COLOURS",
    "KINDS",
    "SHAPES",
    "SIDE",
    "SPLITS",
    "Question",
    "Scene",
    "SceneObject",
    "Split",
    "ask",
    "draw",
    "object_patches",
    "patch_owner",
    "questions",
    "relevant_patches",
    "sample_scene",
    "scene_rng",
    "silhouette",
]
