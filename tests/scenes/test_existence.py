"""Existence: what is asked for is there, or absent in the way that POPE's sampling says."""

from collections import Counter

import pytest
from hypothesis import given, settings
from numpy.random import Generator

from tests.scenes.strategies import CROWDED, STREAMS, fitting
from visionflow.scenes import COLOURS, SHAPES, Scene, sample_scene, scene_rng
from visionflow.scenes.existence import SAMPLINGS, Pair, existence, popular_pairs
from visionflow.scenes.questions import Question


def asked_for(question: Question) -> Pair:
    """The colour and the shape that the question names."""
    words = question.text.rstrip("?").split()
    return next(word for word in words if word in COLOURS), next(word for word in words if word in SHAPES)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@given(scene=CROWDED, rng=STREAMS)
@settings(max_examples=25, deadline=None)
def test_yes_is_there_and_no_is_not(sampling: str, scene: Scene, rng: Generator) -> None:
    yes, no = existence(scene, rng, sampling, there=True), existence(scene, rng, sampling, there=False)
    assert (yes.answer, no.answer, yes.kind, no.kind) == ("yes", "no", sampling, sampling)
    assert list(yes.about) == fitting(yes.text, scene) != []
    assert list(no.about) == fitting(no.text, scene) == []


@given(CROWDED, STREAMS)
@settings(max_examples=40, deadline=None)
def test_both_parts_of_an_adversarial_pair_are_there(scene: Scene, rng: Generator) -> None:
    colours, shapes = {item.colour for item in scene.objects}, {item.shape for item in scene.objects}
    colour, shape = asked_for(existence(scene, rng, "adversarial", there=False))
    if len(colours) * len(shapes) > len({item.name for item in scene.objects}):
        assert colour in colours
        assert shape in shapes


@given(CROWDED, STREAMS)
@settings(max_examples=40, deadline=None)
def test_a_popular_pair_is_popular(scene: Scene, rng: Generator) -> None:
    absent = set(popular_pairs()) - {(item.colour, item.shape) for item in scene.objects}
    pair = asked_for(existence(scene, rng, "popular", there=False))
    assert pair in absent if absent else pair not in popular_pairs()


def test_the_popular_are_those_seen_most() -> None:
    seen = Counter(
        (item.colour, item.shape) for number in range(100) for item in sample_scene(scene_rng("train", number)).objects
    )
    popular = popular_pairs()
    assert len(set(popular)) == len(popular) == 12
    others = [seen[colour, shape] for colour in COLOURS for shape in SHAPES if (colour, shape) not in popular]
    assert sum(seen[pair] for pair in popular) / 12 > 1.3 * sum(others) / len(others)


def test_random_pairs_are_any() -> None:
    rng = scene_rng("train", 0)
    scene = sample_scene(rng)
    pairs = {asked_for(existence(scene, rng, "random", there=False)) for _ in range(300)}
    assert len(pairs) > 30
    assert not pairs <= set(popular_pairs())


def test_where_everything_is_there_the_fallback_is_still_absent() -> None:
    """One colour and one shape: no adversarial pair exists, so a popular one is asked for."""
    scene = sample_scene(scene_rng("train", 0), (6, 6))
    one = Scene(scene.width, scene.height, scene.background, scene.objects[:1])
    question = existence(one, scene_rng("train", 1), "adversarial", there=False)
    assert asked_for(question) in popular_pairs()
    assert fitting(question.text, one) == []


def test_popular_does_not_mean_no() -> None:
    """Else one could answer that sampling well without a look: a yes asks for something popular, too."""
    for number in range(60):
        scene = sample_scene(scene_rng("train", number))
        there = {(item.colour, item.shape) for item in scene.objects} & set(popular_pairs())
        asked = asked_for(existence(scene, scene_rng("train", 1000 + number), "popular", there=True))
        assert asked in there or not there
