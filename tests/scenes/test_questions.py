"""Open-ended questions: every answer worked out again from the words of the question and the scene graph."""

from collections import Counter

import pytest
from hypothesis import given, settings
from numpy.random import Generator

from tests.scenes.strategies import CROWDED, STREAMS, fitting, items
from visionflow.scenes import CELL, OPEN, Item, Scene, SceneObject, sample_item
from visionflow.scenes.description import Description, naming
from visionflow.scenes.questions import MOST, ask

Asked = tuple[Scene, Item]
KINDS = list(OPEN)


def of_kind(kind: str):  # type: ignore[no-untyped-def]
    """Run the test on open-ended items of one kind."""
    deal = given(asked=items("open", KINDS.index(kind), len(KINDS)))
    return lambda test: settings(max_examples=30, deadline=None)(deal(test))


def about(asked: Asked) -> list[SceneObject]:
    return [asked[0].objects[i] for i in asked[1].about]


@of_kind("count")
def test_count(asked: Asked) -> None:
    scene, item = asked
    found = fitting(item.question, scene)
    assert item.gold == (str(len(found)),)
    assert len(found) <= MOST
    assert sorted(item.about) == found


@pytest.mark.parametrize("kind", ["colour", "shape", "mark"])
def test_an_attribute_of_the_one_object_that_the_question_names(kind: str) -> None:
    @of_kind(kind)
    def check(asked: Asked) -> None:
        scene, item = asked
        named = item.question.removeprefix(f"What {kind}").removeprefix(f"Which {kind}")
        assert fitting(named, scene) == list(item.about)
        (target,) = about(asked)
        assert item.gold == (getattr(target, kind),)
        assert item.gold[0] not in item.question.split()

    check()


@of_kind("relation")
def test_relation(asked: Asked) -> None:
    scene, item = asked
    sides = ("left", "right") if " left or right of " in item.question else ("above", "below")
    named = item.question.split(f" {sides[0]} or {sides[1]} ")
    assert [fitting(name, scene) for name in named] == [[i] for i in item.about]
    one, other = about(asked)
    apart = one.x - other.x if sides == ("left", "right") else one.y - other.y
    assert abs(apart) >= 1.5 * CELL, "too close to tell"
    assert item.gold == (sides[0] if apart < 0 else sides[1],)


@of_kind("comparison")
def test_comparison(asked: Asked) -> None:
    scene, item = asked
    words = item.question.rstrip("?").replace(",", "").split()
    middle = words.index("or")
    groups = [fitting(" ".join(words[:middle]), scene), fitting(" ".join(words[middle:]), scene)]
    sizes = [len(group) for group in groups]
    assert sizes[0] != sizes[1]
    assert all(sizes), "one of the two is not in the picture"
    assert not set(groups[0]) & set(groups[1])
    assert sorted(item.about) == sorted(groups[0] + groups[1])
    more = words[:middle] if sizes[0] > sizes[1] else words[middle + 1 :]
    assert item.gold[0] == (more[-2] if more[-1] == "objects" else more[-1])


@of_kind("odd-one-out")
def test_odd_one_out(asked: Asked) -> None:
    scene, item = asked
    found = fitting(item.question, scene)
    assert sorted(item.about) == found
    assert len(found) >= 3
    colours = Counter(scene.objects[i].colour for i in found)
    assert len(colours) == 2
    assert colours[item.gold[0]] == 1


@given(CROWDED, STREAMS)
@settings(max_examples=60, deadline=None)
def test_a_name_fits_its_object_and_no_other(scene: Scene, rng: Generator) -> None:
    for target in range(len(scene.objects)):
        name = naming(scene, target, rng)
        assert name is None or fitting(name, scene) == [target]


@given(CROWDED, STREAMS)
@settings(max_examples=20, deadline=None)
def test_no_name_where_two_objects_are_alike_but_for_what_is_asked(scene: Scene, rng: Generator) -> None:
    twins = Scene(scene.width, scene.height, scene.background, (*scene.objects, scene.objects[0]))
    assert naming(twins, 0, rng) is None


def test_how_things_are_said() -> None:
    assert Description(colour="red", shape="cross").plural == "red crosses"
    assert Description(size="large").plural == "large objects"
    assert Description(shape="star", mark="dot").singular == "star with a dot"
    assert Description(colour="blue").singular == "blue object"


@pytest.mark.parametrize("kind", KINDS)
@given(scene=CROWDED, rng=STREAMS)
@settings(max_examples=10, deadline=None)
def test_the_right_answer_is_one_of_the_values_and_they_differ(kind: str, scene: Scene, rng: Generator) -> None:
    question = ask(scene, rng, OPEN[kind])
    if question is not None:
        assert question.kind == kind
        assert question.answer in question.values
        assert len(set(question.values)) == len(question.values) > 1


def test_one_answer_does_not_do() -> None:
    """No kind's most frequent answer is right much more often than its number of answers suggests."""
    for kind, most in {"relation": 0.6, "mark": 0.45, "colour": 0.4, "shape": 0.4, "count": 0.45}.items():
        golds = [sample_item("open", "test", number * len(KINDS) + KINDS.index(kind))[1].gold for number in range(40)]
        assert Counter(golds).most_common(1)[0][1] <= most * 40, kind
