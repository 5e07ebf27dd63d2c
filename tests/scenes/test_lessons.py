"""Lessons: what the embedded model learns from, with answers that are right."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.random import Generator

from tests.scenes.strategies import NUMBERS, SCENES, STREAMS, fitting
from visionflow.scenes import CELLS, Lesson, Scene, course, lessons, sample_scene, scene_rng, shared_lessons
from visionflow.scenes.captions import caption
from visionflow.scenes.lessons import FEW_NAMED
from visionflow.scenes.tasks import OPEN

ALL = course(1.0)


def letters(prompt: str) -> dict[str, str]:
    """What each letter of the prompt stands for."""
    return dict(re.findall(r"([A-D])\. ([^.]+?)(?= [A-D]\.|\.|$)", prompt))


@given(SCENES, STREAMS)
@settings(max_examples=15, deadline=None)
def test_as_many_different_lessons_as_asked_for(scene: Scene, rng: Generator) -> None:
    learned = lessons(scene, rng, 6, ALL)
    assert len({(lesson.kind, lesson.turns[0].prompt) for lesson in learned}) == len(learned) == 6
    assert all(turn.answer for lesson in learned for turn in lesson.turns)
    assert all(lesson.shown.shape == (1, CELLS, CELLS) for lesson in learned)


@given(SCENES, NUMBERS)
@settings(max_examples=5, deadline=None)
def test_the_same_stream_gives_the_same_lessons(scene: Scene, seed: int) -> None:
    one, other = (lessons(scene, np.random.default_rng(seed), 4, ALL) for _ in range(2))
    assert [lesson.turns for lesson in one] == [lesson.turns for lesson in other]


@given(SCENES, STREAMS)
@settings(max_examples=25, deadline=None)
def test_what_can_be_worked_out_again_is_right(scene: Scene, rng: Generator) -> None:
    for lesson in lessons(scene, rng, 12, ALL):
        turn = lesson.turns[0]
        if lesson.kind == "existence":
            asked = turn.prompt.removeprefix("question: ").removesuffix(" Please just answer yes or no.")
            assert turn.answer == ("yes" if fitting(asked, scene) else "no")
        elif lesson.kind in ("count", "counted"):
            assert all(each.answer == str(len(fitting(each.prompt, scene))) for each in lesson.turns)
        elif lesson.kind == "caption":
            assert turn.answer == caption(scene, 0)


@given(SCENES, STREAMS)
@settings(max_examples=25, deadline=None)
def test_a_letter_stands_for_what_is_meant(scene: Scene, rng: Generator) -> None:
    for lesson in lessons(scene, rng, 12, ALL):
        for turn in lesson.turns:
            options = letters(turn.prompt)
            assert bool(options) == (turn.meant is not None)
            if options:
                assert options[turn.answer] == turn.meant
                assert list(options.values()).count(turn.meant) == 1
        if lesson.kind == "then-letter":
            assert lesson.turns[1].meant == lesson.turns[0].answer


@given(SCENES, STREAMS)
@settings(max_examples=25, deadline=None)
def test_it_is_the_object_that_was_spoken_of(scene: Scene, rng: Generator) -> None:
    for lesson in lessons(scene, rng, 12, ALL):
        if lesson.kind == "about-one":
            told = {turn.prompt: turn.answer for turn in lesson.turns[1:]}
            fits = [
                item
                for item in scene.objects
                if told.get("What colour is it?", item.colour) == item.colour
                and told.get("What shape is it?", item.shape) == item.shape
                and told.get("Is it small or large?", item.size) == item.size
            ]
            assert fits
            assert lesson.shown.any()


def test_the_course_goes_from_where_things_are_to_everything() -> None:
    start, middle, end = (dict(course(progress).weights) for progress in (0.0, 0.4, 1.0))
    assert {"where", "half", "at"} <= set(start)
    assert not {"relation", "count", "lettered"} & set(start)
    assert {"relation", "count"} <= set(middle)
    assert {"lettered", "knowledge", *OPEN} <= set(end)
    assert course(0.0).between[1] < course(0.5).between[1] < course(2.0).between[1]


def test_letters_and_captions_are_most_of_what_is_learnt_last() -> None:
    last, rng = course(3.0), np.random.default_rng(0)
    weights = dict(last.weights)
    assert set(OPEN) <= set(weights)
    assert weights["lettered"] + weights["caption"] > sum(weights.values()) / 2
    assert {last.some_between(rng) for _ in range(20)} == {(2, FEW_NAMED), last.between}


@pytest.mark.parametrize("kind", [kind for kind, _ in ALL.weights])
def test_every_kind_is_taught(kind: str) -> None:
    found = Counter(
        lesson.kind
        for number in range(4)
        for lesson in lessons(*_picture(number), 12, type(ALL)((2, 16), ((kind, 1.0),)))
    )
    assert found[kind] > 0
    assert set(found) == {kind}


@given(SCENES, SCENES, STREAMS)
@settings(max_examples=15, deadline=None)
def test_of_two_pictures_the_one_that_is_asked_for(first: Scene, second: Scene, rng: Generator) -> None:
    for lesson in shared_lessons((first, second), rng, 8):
        (turn,) = lesson.turns
        assert lesson.shown.shape == (2, CELLS, CELLS)
        if lesson.kind == "in-picture":
            other = 1 if "first" in turn.prompt else 0
            assert not lesson.shown[other].any()
        else:
            counts = [_fitting(turn.prompt, scene) for scene in (first, second)]
            assert turn.answer == ("first" if counts[0] > counts[1] else "second")


def _fitting(prompt: str, scene: Scene) -> int:
    return len(fitting(re.sub("first|second", "", prompt), scene))


def _picture(number: int) -> tuple[Scene, Generator]:
    rng = scene_rng("train", number)
    return sample_scene(rng, (3, 5 if number % 2 else 14), signs=(1,)), rng


def test_a_lesson_is_one_of_its_kind() -> None:
    assert isinstance(lessons(*_picture(0), 1, ALL)[0], Lesson)
