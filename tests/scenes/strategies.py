"""Scenes, items and random streams for hypothesis, and a second reader of what a phrase says."""

import re

import numpy as np
from hypothesis import strategies as st

from visionflow.scenes import (
    COLOURS,
    DIGITS,
    FEW,
    MARKS,
    SHAPES,
    SIZES,
    Item,
    Scene,
    sample_item,
    sample_scene,
    scene_rng,
)

NUMBERS = st.integers(0, 2**32)
STREAMS = NUMBERS.map(np.random.default_rng)
CROWDED = NUMBERS.map(lambda number: sample_scene(scene_rng("train", number)))
SPARSE = NUMBERS.map(lambda number: sample_scene(scene_rng("train", number), FEW))
SCENES = NUMBERS.map(lambda number: sample_scene(scene_rng("train", number), (2, 16)))

_NOUNS = {f"{shape}{ending}": shape for shape in SHAPES for ending in ("", "s", "es")}


def items(task: str, kind: int = 0, kinds: int = 1) -> st.SearchStrategy[tuple[Scene, Item]]:
    """Items of a task with their scenes; those whose number leaves `kind` when divided by `kinds`."""
    return NUMBERS.map(lambda number: sample_item(task, "train", number * kinds + kind))


def fitting(said: str, scene: Scene) -> list[int]:
    """Which objects fit words such as `small red circles with a dot`, read word by word."""
    words = re.findall("[a-z]+|[0-9]", said)
    wanted = {
        "size": [word for word in words if word in SIZES],
        "colour": [word for word in words if word in COLOURS],
        "shape": [_NOUNS[word] for word in words if word in _NOUNS],
        "mark": [word for word in words if word in (*MARKS, *DIGITS)],
    }
    assert all(len(values) <= 1 for values in wanted.values()), said
    assert any(wanted.values()), said
    return [
        i
        for i, item in enumerate(scene.objects)
        if all(getattr(item, attribute) in values for attribute, values in wanted.items() if values)
    ]
