"""Questions that need no picture: right by general knowledge, about nothing in the scene."""

import re

import pytest

from visionflow.scenes import sample_scene, scene_rng
from visionflow.scenes.draw import _CORNERS as DRAWN
from visionflow.scenes.knowledge import knowledge
from visionflow.scenes.questions import Question


@pytest.fixture(scope="module")
def asked() -> list[Question]:
    rng = scene_rng("train", 0)
    scene = sample_scene(rng)
    return [knowledge(scene, rng) for _ in range(300)]


def test_it_is_about_no_object_and_has_plausible_wrong_answers(asked: list[Question]) -> None:
    for question in asked:
        assert (question.kind, question.about) == ("knowledge", ())
        assert question.answer in question.values
        assert len(set(question.values)) == len(question.values) >= 4


def test_a_question_has_one_answer(asked: list[Question]) -> None:
    answers = {(question.text, question.answer) for question in asked}
    assert len(answers) == len({text for text, _ in answers}) > 15


def test_corners_are_those_that_are_drawn(asked: list[Question]) -> None:
    about_corners = [question for question in asked if "corners" in question.text]
    assert about_corners
    for question in about_corners:
        shape = next(word for word in ("triangle", "square", "diamond", "circle") if word in question.text)
        assert int(question.answer) == (0 if shape == "circle" else len(DRAWN[shape]))


def test_both_orders_of_two_paints_are_asked(asked: list[Question]) -> None:
    mixed = {match.groups() for q in asked if (match := re.search(r"from (\w+) and (\w+)\?", q.text))}
    assert mixed == {pair[::step] for pair in mixed for step in (1, -1)}
    assert len(mixed) == 6
