"""Captions: one sentence, five ways, every object in each."""

import re
from collections import Counter

from hypothesis import given, settings
from numpy.random import Generator

from tests.scenes.strategies import SPARSE, STREAMS
from visionflow.scenes import CELL, Scene, SceneObject
from visionflow.scenes.captions import caption, grouped_names, joined, names_in_reading_order, references, some_caption
from visionflow.scenes.world import Background

COUNTS = {"a": 1, "an": 1, "two": 2, "three": 3, "four": 4, "five": 5}
GREY = Background(clutter=0, noise=0, seed=0)


def named(sentence: str) -> Counter[str]:
    """How many of each object a sentence speaks of: `two red circles` are two."""
    found: Counter[str] = Counter()
    for number, colour, noun in re.findall(r"\b(an?|two|three|four|five) (\w+) (\w+)", sentence.lower()):
        if (number, colour, noun) != ("a", "picture", "of"):
            ending = 0 if number in ("a", "an") else 2 if noun == "crosses" else 1
            found[f"{colour} {noun[: len(noun) - ending]}"] += COUNTS[number]
    return found


def row_of(*objects: tuple[str, str, int, int]) -> Scene:
    """A scene of (colour, shape, column, row)."""
    placed = tuple(
        SceneObject(shape, colour, "small", "none", x=(column + 0.5) * CELL, y=(row + 0.5) * CELL, radius=6)
        for colour, shape, column, row in objects
    )
    return Scene(168, 168, GREY, placed)


@given(SPARSE)
@settings(max_examples=40, deadline=None)
def test_each_of_five_references_names_every_object(scene: Scene) -> None:
    there = Counter(item.name for item in scene.objects)
    said = references(scene)
    assert len(set(said)) == 5
    for sentence in said:
        text = sentence.replace("A picture of ", "").replace("a picture of ", "")
        assert named(text) == there, sentence
        assert re.fullmatch(r"[A-Z].*[a-z]\.", sentence)


@given(SPARSE, STREAMS)
@settings(max_examples=20, deadline=None)
def test_what_is_taught_names_every_object_too(scene: Scene, rng: Generator) -> None:
    said = some_caption(scene, rng)
    assert said in [caption(scene, wording) for wording in range(5)]
    assert named(said.replace("A picture of ", "")) == Counter(item.name for item in scene.objects)


def test_reading_order_and_groups() -> None:
    scene = row_of(("red", "circle", 5, 2), ("orange", "cross", 1, 2), ("red", "circle", 9, 1), ("blue", "star", 0, 7))
    assert caption(scene, 0) == "A red circle, an orange cross, a red circle and a blue star."
    assert grouped_names(scene) == ["two red circles", "an orange cross", "a blue star"]
    assert references(scene)[4] == "We see two red circles, an orange cross and a blue star."


def test_joined() -> None:
    assert [joined(list(names)) for names in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]


def test_a_large_object_belongs_to_the_row_of_its_upper_half() -> None:
    """Wherever in the noise around the line between two rows its centre lies."""
    small = SceneObject("star", "blue", "small", "none", x=10 * CELL + 7, y=2 * CELL + 7, radius=6)
    for shift in (-1.5, 1.5):
        large = SceneObject("circle", "red", "large", "none", x=3 * CELL, y=3 * CELL + shift, radius=11)
        scene = Scene(168, 168, GREY, (small, large))
        assert names_in_reading_order(scene) == ["a red circle", "a blue star"]


def test_many_equal_objects_are_counted_in_figures() -> None:
    crowd = tuple(SceneObject("star", "blue", "small", "none", x=7 + 14 * i, y=7, radius=6) for i in range(8))
    assert grouped_names(Scene(168, 168, GREY, crowd)) == ["8 blue stars"]
