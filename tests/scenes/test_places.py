"""Where things are, what is at a place, and on what ground: each answer worked out again from the scene."""

import re

import numpy as np
from hypothesis import given, settings
from numpy.random import Generator

from tests.scenes.strategies import SCENES, STREAMS, fitting
from visionflow.scenes import CELL, CELLS, Scene, SceneObject, draw, relevant_patches
from visionflow.scenes.places import at, empty, ground, half, quarter, under, where
from visionflow.scenes.questions import Maker, Question, ask
from visionflow.scenes.reading import sign, word
from visionflow.scenes.world import Litter

AROUND = re.compile(r"In which quarter of the picture|Which quarter|left or right|top or bottom|halfs?|In which row")


def asked(maker: Maker, scene: Scene, rng: Generator) -> Question | None:
    question = ask(scene, rng, maker)
    assert question is None or question.kind == maker.__name__
    return question


def cell_in(text: str) -> tuple[int, int]:
    row, column = re.findall(r"\d+", text)
    return int(row) - 1, int(column) - 1


@given(SCENES, STREAMS)
@settings(max_examples=40, deadline=None)
def test_halves_and_quarters_are_where_the_object_is(scene: Scene, rng: Generator) -> None:
    for maker in (half, quarter):
        question = asked(maker, scene, rng)
        if question is not None:
            assert fitting(AROUND.sub("", question.text), scene) == list(question.about)
            item = scene.objects[question.about[0]]
            sides = {"left" if item.x < scene.width / 2 else "right", "top" if item.y < scene.height / 2 else "bottom"}
            assert set(question.answer.split()) <= sides


@given(SCENES, STREAMS)
@settings(max_examples=40, deadline=None)
def test_a_place_is_the_patch_that_shows_the_object(scene: Scene, rng: Generator) -> None:
    question = asked(where, scene, rng)
    if question is not None:
        assert relevant_patches(scene, question.about, CELLS)[cell_in(question.answer)]


@given(SCENES, STREAMS)
@settings(max_examples=40, deadline=None)
def test_what_is_at_a_place_is_what_lies_there(scene: Scene, rng: Generator) -> None:
    question = asked(at, scene, rng)
    assert question is not None
    cell = cell_in(question.text)
    there: list[SceneObject | Litter] = [
        item for item in scene.objects if (int(item.y // CELL), int(item.x // CELL)) == cell and item.size == "small"
    ]
    there += [each for each in scene.litter if each.cell == cell]
    assert question.answer == (there[0].name if there else "nothing")
    assert relevant_patches(scene, question.about, CELLS, question.cells)[cell]


@given(SCENES, STREAMS)
@settings(max_examples=40, deadline=None)
def test_an_empty_place_shows_no_object_no_sign_and_no_litter(scene: Scene, rng: Generator) -> None:
    question = asked(empty, scene, rng)
    assert question is not None
    cell = cell_in(question.text)
    shown = relevant_patches(scene, range(len(scene.objects)), CELLS)[cell]
    shown |= any(cell in each.cells for each in scene.signs) or any(each.cell == cell for each in scene.litter)
    assert question.answer == ("no" if shown else "yes")


@given(SCENES, STREAMS)
@settings(max_examples=40, deadline=None)
def test_the_ground_is_that_of_all_cells_it_is_told_by(scene: Scene, rng: Generator) -> None:
    for maker in (ground, under):
        question = asked(maker, scene, rng)
        if question is not None:
            kinds = {each.kind for each in scene.grounds for cell in question.cells if each.covers(*cell)}
            assert kinds == {question.answer}


@given(SCENES, STREAMS)
@settings(max_examples=40, deadline=None)
def test_a_sign_says_its_word_in_its_colour(scene: Scene, rng: Generator) -> None:
    for maker in (word, sign):
        question = asked(maker, scene, rng)
        assert (question is None) == (not scene.signs)
        if question is not None:
            (meant,) = [each for each in scene.signs if each.cells == question.cells]
            said = {meant.word, meant.colour}
            assert question.answer in said
            assert said - {question.answer} <= set(question.text[:-1].split()) or "the sign" in question.text


def test_each_letter_shows_in_its_own_patch_only() -> None:
    """Another letter in its place changes that patch and nothing else."""
    from dataclasses import replace

    from visionflow.scenes import sample_scene, scene_rng

    scene = sample_scene(scene_rng("train", 1), (2, 4), signs=(1,))
    plate = scene.signs[0]
    other = replace(plate, word=plate.word[:-1] + ("n" if plate.word[-1] != "n" else "t"))
    one, two = (np.asarray(draw(replace(scene, signs=(each,)))) for each in (plate, other))
    changed = np.argwhere((one != two).any(-1)) // CELL
    assert {tuple(cell) for cell in changed.tolist()} == {plate.cells[-1]}
