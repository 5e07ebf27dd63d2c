"""Litter lies in cells of its own, is seen in these cells only, and is answered for by place."""

from collections import Counter
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from numpy.random import Generator

from tests.scenes.strategies import SCENES, STREAMS
from visionflow.scenes import CELL, COLOURS, LITTER, Scene, draw, sample_scene, scene_rng
from visionflow.scenes.description import plural
from visionflow.scenes.places import at, bare_cells, cell_of, empty, place
from visionflow.scenes.strewn import strewn


@given(SCENES)
@settings(max_examples=30, deadline=None)
def test_litter_has_cells_of_its_own(scene: Scene) -> None:
    cells = [each.cell for each in scene.litter]
    assert len(set(cells)) == len(cells)
    taken = {cell_of(item) for item in scene.objects if item.size == "small"}
    taken |= {cell for sign in scene.signs for cell in sign.cells}
    assert not set(cells) & (taken | set(bare_cells(scene)))
    assert {each.kind for each in scene.litter} <= set(LITTER)
    assert {each.colour for each in scene.litter} <= set(COLOURS)


def test_a_third_to_a_half_of_the_cells_have_some() -> None:
    shares = [len(sample_scene(scene_rng("train", number)).litter) / 144 for number in range(40)]
    assert min(shares) > 0.15
    assert max(shares) < 0.65
    assert 0.3 < float(np.mean(shares)) < 0.5


@given(SCENES)
@settings(max_examples=10, deadline=None)
def test_litter_shows_in_its_own_cell_and_nowhere_else(scene: Scene) -> None:
    quiet = replace(scene.background, noise=0)
    with_it = np.asarray(draw(replace(scene, background=quiet)), dtype=np.int16)
    without = np.asarray(draw(replace(scene, background=quiet, litter=())), dtype=np.int16)
    changed = (with_it != without).any(-1).reshape(12, CELL, 12, CELL).sum((1, 3)) > 8  # a tip may stick out
    assert {(int(row), int(column)) for row, column in np.argwhere(changed)} == {each.cell for each in scene.litter}


@given(SCENES, STREAMS)
@settings(max_examples=60, deadline=None)
def test_places_answer_for_litter(scene: Scene, rng: Generator) -> None:
    lies = {each.cell: each.name for each in scene.litter}
    where, bare = at(scene, rng), empty(scene, rng)
    assert where is not None
    assert bare is not None
    for cell in where.cells:
        assert where.answer == lies.get(cell, "nothing")
    for cell in bare.cells:
        assert bare.answer == "no" or cell not in lies


@given(SCENES, STREAMS)
@settings(max_examples=150, deadline=None)
def test_litter_is_answered_for_by_name(scene: Scene, rng: Generator) -> None:
    """The answer follows from the cells that the question says it rests on, counted here by the words of its text."""
    question = strewn(scene, rng)
    if question is None:
        return
    words = [word.strip("?.,").replace("leaves", "leaf") for word in question.text.split()]
    words += [word.removesuffix("s") for word in words]
    kinds, colours = set(LITTER) & set(words), set(COLOURS) & set(words) or set(COLOURS)
    named = [each for each in scene.litter if each.kind in kinds and each.colour in colours]
    assert {each.cell for each in named} == set(question.cells)
    tally = Counter(each.kind for each in named)
    said = {
        "yes": bool(named),
        "no": not named,
        str(len(named)): True,
        place(named[0].cell) if len(named) == 1 else "": True,
        **{"leaves" if kind == "leaf" else plural(kind): n == max(tally.values()) for kind, n in tally.items()},
        "seeds": tally["seeds"] and tally["seeds"] == max(tally.values()),
    }
    assert said[question.answer]
    assert question.answer in question.values
