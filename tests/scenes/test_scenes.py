"""The world: repeatable, split without overlap, drawn where the scene graph says, and asked about truthfully."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionflow.scenes import (
    COLOURS,
    KINDS,
    SHAPES,
    SPLITS,
    Question,
    Scene,
    ask,
    draw,
    object_patches,
    patch_owner,
    questions,
    relevant_patches,
    sample_scene,
    scene_rng,
)

indices = st.integers(min_value=0, max_value=2**40)


def scene_at(index: int, split: str = "train") -> Scene:
    return sample_scene(scene_rng(split, index))  # type: ignore[arg-type]


def question_of(kind: str, index: int) -> tuple[Scene, Question | None]:
    rng = scene_rng("train", index)
    scene = sample_scene(rng)
    return scene, ask(scene, rng, kind)


@given(indices)
@settings(max_examples=10, deadline=None)
def test_the_same_seed_gives_the_same_scene_pixels_and_questions(index: int) -> None:
    first, second = scene_rng("test", index), scene_rng("test", index)
    scene, again = sample_scene(first), sample_scene(second)
    assert scene == again
    assert draw(scene).tobytes() == draw(again).tobytes()
    assert questions(scene, first, 5) == questions(again, second, 5)


def test_the_splits_share_no_scene() -> None:
    drawn = {split: {scene_at(i, split) for i in range(200)} for split in SPLITS}
    assert all(len(scenes) == 200 for scenes in drawn.values())
    assert len(set.union(*drawn.values())) == 600


@given(indices)
@settings(max_examples=30, deadline=None)
def test_objects_lie_inside_and_apart(index: int) -> None:
    scene = scene_at(index)
    assert 1 <= len(scene.objects) <= 5
    for i, item in enumerate(scene.objects):
        left, top, right, bottom = item.box
        assert left >= 0
        assert top >= 0
        assert right <= scene.width
        assert bottom <= scene.height
        for other in scene.objects[:i]:
            assert np.hypot(item.x - other.x, item.y - other.y) > item.radius + other.radius


@given(indices)
@settings(max_examples=20, deadline=None)
def test_the_centre_of_an_object_has_its_colour(index: int) -> None:
    scene = scene_at(index)
    pixels = np.asarray(draw(scene, scale=2)).astype(float)
    for item in scene.objects:
        x, y = int(item.x * 2), int(item.y * 2)
        seen = pixels[y - 2 : y + 3, x - 2 : x + 3].mean(axis=(0, 1))
        nearest = min(COLOURS, key=lambda name: float(np.linalg.norm(seen - np.array(COLOURS[name]))))
        assert nearest == item.colour


def test_a_wide_scene_keeps_its_objects_in_the_central_square() -> None:
    scene = sample_scene(scene_rng("test", 3), width=160, height=96)
    assert draw(scene).size == (160, 96)
    assert all(item.box[0] >= 32 and item.box[2] <= 128 for item in scene.objects)


@given(indices)
@settings(max_examples=40, deadline=None)
def test_existence_and_count_agree_with_the_scene_graph(index: int) -> None:
    scene, question = question_of("existence", index)
    if question is not None:
        colour, shape = _named(question.text)
        there = any(item.colour == colour and item.shape == shape for item in scene.objects)
        assert question.answer == ("yes" if there else "no")
        assert bool(question.about) == there
    scene, question = question_of("count", index)
    assert question is not None
    colour, shape = _named(question.text)
    sizes = {size for size in ("small", "large") if size in question.text}
    fitting = [
        item
        for item in scene.objects
        if colour in (None, item.colour) and shape in (None, item.shape) and (not sizes or item.size in sizes)
    ]
    assert question.answer == str(len(fitting))


@given(indices)
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("kind", ["colour", "shape"])
def test_the_asked_attribute_is_the_targets_and_is_not_given_away(kind: str, index: int) -> None:
    scene, question = question_of(kind, index)
    if question is None:
        return
    (target,) = question.about
    assert question.answer == getattr(scene.objects[target], kind)
    assert question.answer not in question.text
    colour, shape = _named(question.text)
    assert colour in (None, scene.objects[target].colour)
    assert shape in (None, scene.objects[target].shape)


@given(indices)
@settings(max_examples=40, deadline=None)
def test_relations_hold_between_the_centres(index: int) -> None:
    scene, question = question_of("relation", index)
    if question is None:
        return
    anchor, other = (scene.objects[i] for i in question.about)
    text = question.text
    if "left" in text:
        holds = other.x < anchor.x
    elif "right" in text:
        holds = other.x > anchor.x
    else:
        holds = other.y < anchor.y if "above" in text or "over" in text else other.y > anchor.y
    assert question.answer == (other.name if text.lower().startswith(("what", "which")) else "yes" if holds else "no")
    assert holds or question.answer == "no"


@given(indices)
@settings(max_examples=30, deadline=None)
def test_a_choice_has_four_different_options_and_the_gold_one_at_its_letter(index: int) -> None:
    scene, question = question_of("choice", index)
    if question is None:
        return
    options = dict(re.findall(r"^([ABCD])\. (\S+)$", question.text, flags=re.MULTILINE))
    assert len(set(options.values())) == 4
    gold = options[question.answer]
    if gold.isdigit():
        assert int(gold) == len(question.about)
    else:
        item = scene.objects[question.about[0]]
        assert gold in (item.colour, item.shape)


def test_answers_are_balanced() -> None:
    asked = [question_of("existence", i)[1] for i in range(400)]
    yes = [question.answer == "yes" for question in asked if question is not None]
    assert len(yes) > 350
    assert 0.42 < np.mean(yes) < 0.58
    letters = [question.answer for i in range(400) if (question := question_of("choice", i)[1]) is not None]
    assert all(0.17 < letters.count(letter) / len(letters) < 0.33 for letter in "ABCD")


def test_every_kind_can_nearly_always_be_asked() -> None:
    for kind in KINDS:
        assert sum(question_of(kind, i)[1] is not None for i in range(100)) > 60, kind


@given(indices)
@settings(max_examples=20, deadline=None)
def test_patches_cover_their_object_and_follow_a_centre_crop(index: int) -> None:
    scene = sample_scene(scene_rng("train", index), width=128, height=96)
    owner = patch_owner(scene, 12)
    for i, item in enumerate(scene.objects):
        patches = object_patches(scene, i, 12)
        assert patches[int(item.y // 8), int((item.x - 16) // 8)]
        assert patches[owner == i].all()
    question = questions(scene, scene_rng("train", index), 1)[0]
    assert relevant_patches(scene, question, 12).any() == bool(question.about)


def _named(text: str) -> tuple[str | None, str | None]:
    """The colour and the shape that a question names."""
    words = re.findall(r"[a-z]+", text.split("\n")[0].lower())
    colour = next((name for name in COLOURS if name in words), None)
    shape = next((name for name in SHAPES if {name, f"{name}s"} & set(words)), None)
    return colour, shape
