"""Yes/no questions about existence, with POPE's three ways to choose what is not there (Li et al. 2023)."""

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.random import Generator

from visionflow.scenes import phrases
from visionflow.scenes.description import Description
from visionflow.scenes.questions import Question
from visionflow.scenes.world import COLOURS, SHAPES, Scene, frequency, pick

Pair = tuple[str, str]
"""A colour and a shape: what counts as an object of this world, like "dog" in POPE."""

_POPULAR = 12


def pairs_there(scene: Scene) -> list[Pair]:
    """What the scene shows, each pair once, sorted."""
    return sorted({(item.colour, item.shape) for item in scene.objects})


def popular_pairs() -> list[Pair]:
    """The most frequent pairs of the whole world."""
    chances = np.outer(frequency(tuple(COLOURS)), frequency(SHAPES)).ravel()
    everything = list(product(COLOURS, SHAPES))
    return [everything[i] for i in np.argsort(-chances, kind="stable")[:_POPULAR]]


def _random(scene: Scene) -> list[Pair]:
    """Anything that is not there."""
    return _absent(scene, list(product(COLOURS, SHAPES)))


def _popular(scene: Scene) -> list[Pair]:
    """What is often elsewhere but not here; anything where all of that is here."""
    return _absent(scene, popular_pairs()) or _random(scene)


def _adversarial(scene: Scene) -> list[Pair]:
    """The colour of one object with the shape of another: both parts are there, the whole is not.

    POPE takes what most often stands beside the objects that are there; in this world nothing is likelier to be taken
    for seen than parts that are.
    """
    colours = sorted({item.colour for item in scene.objects})
    shapes = sorted({item.shape for item in scene.objects})
    return _absent(scene, list(product(colours, shapes))) or _popular(scene)


SAMPLINGS: dict[str, Callable[[Scene], list[Pair]]] = {
    "random": _random,
    "popular": _popular,
    "adversarial": _adversarial,
}


def existence(scene: Scene, rng: Generator, sampling: str, there: bool) -> Question:
    """Whether there is such an object; where there is none, `sampling` says how the absent one is chosen."""
    pair = pick(rng, _present(scene, sampling) if there else SAMPLINGS[sampling](scene))
    wanted = Description(colour=pair[0], shape=pair[1])
    text = pick(rng, phrases.EXISTENCE).format(phrases.a(wanted.singular))
    return Question(text, "yes" if there else "no", sampling, wanted.matches(scene), ("yes", "no"))


def _present(scene: Scene, sampling: str) -> list[Pair]:
    """What is there; of the popular sampling something popular if it can be, else "popular" would mean "no"."""
    there = pairs_there(scene)
    popular = [pair for pair in there if pair in popular_pairs()] if sampling == "popular" else []
    return popular or there


def _absent(scene: Scene, pairs: list[Pair]) -> list[Pair]:
    there = set(pairs_there(scene))
    return [pair for pair in pairs if pair not in there]
