"""The tasks of the paper: repeatable, balanced whatever the limit, and every gold answer right."""

from collections import Counter
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings

from tests.scenes.strategies import NUMBERS, fitting, items
from visionflow.scenes import CELLS, FEW, MANY, SPLITS, TASKS, Item, Scene, ground_at, relevant_patches, sample_item
from visionflow.scenes.phrases import CAPTION

LIMITS = (40, 60, 120)
Asked = tuple[Scene, Item]


@cache
def drawn(task: str) -> list[Item]:
    """The first items of a task."""
    return [sample_item(task, "test", number)[1] for number in range(max(LIMITS))]


def taken(task: str, limit: int, of: Callable[[Item], object]) -> Counter[object]:
    """How often each value of `of` occurs among so many first items of a task."""
    return Counter(of(item) for item in drawn(task)[:limit])


def spread(counted: Counter[object]) -> int:
    return max(counted.values()) - min(counted.values())


@pytest.mark.parametrize("task", TASKS)
def test_an_item_is_decided_by_task_split_and_number(task: str) -> None:
    for number in (0, 7, 10**6):
        assert sample_item(task, "train", number) == sample_item(task, "train", number)
    assert len({sample_item(task, split, 7)[0] for split in SPLITS}) == len(SPLITS)


@pytest.mark.parametrize("task", TASKS)
@given(number=NUMBERS)
@settings(max_examples=10, deadline=None)
def test_an_item_fits_its_scene(task: str, number: int) -> None:
    scene, item = sample_item(task, "validation", number)
    fewest, most = FEW if task == "caption" else MANY
    assert fewest <= len(scene.objects) <= most
    assert item.task == task
    assert item.question.rstrip("?.").lower().replace("colour", "color") in item.prompt.lower().replace(
        "colour", "color"
    )
    shown = relevant_patches(scene, item.about, CELLS, item.cells)
    assert shown.any() == bool(item.about or item.cells)


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("task", TASKS)
def test_kinds_are_balanced(task: str, limit: int) -> None:
    kinds = taken(task, limit, lambda item: item.kind)
    if task == "science":  # of every eight, two are of general knowledge
        kinds["knowledge"] /= 2
    assert spread(kinds) <= 2


@pytest.mark.parametrize("limit", LIMITS)
def test_yes_and_no_are_balanced_in_every_sampling(limit: int) -> None:
    dealt = taken("existence", limit, lambda item: (item.kind, item.gold))
    assert len(dealt) == 6
    assert spread(dealt) <= 1


@pytest.mark.parametrize("limit", LIMITS)
def test_gold_letters_of_a_choice_are_balanced(limit: int) -> None:
    assert spread(taken("choice", limit, lambda item: item.gold[0])) <= 1


def test_gold_letters_of_a_choice_do_not_follow_from_the_kind() -> None:
    """Else who has seen many questions knows half of the answer without a look at the picture."""
    assert len(taken("choice", 120, lambda item: (item.kind, item.gold[0]))) == 8 * 4


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("size", [2, 3, 4])
def test_gold_letters_of_science_are_balanced_for_each_number_of_options(size: int, limit: int) -> None:
    letters = Counter(item.gold[0] for item in drawn("science")[:limit] if len(item.options) == size)
    assert set(letters) == set("ABCD"[:size])
    assert spread(letters) <= 0.25 * letters.total()


@pytest.mark.parametrize("task", ["choice", "science"])
def test_options(task: str) -> None:
    for item in drawn(task)[:100]:
        assert len(set(item.options)) == len(item.options)
        assert 2 <= len(item.options) <= 4
        (letter,) = item.gold
        assert letter in "ABCD"[: len(item.options)]
        listed = " ".join(f"{letter}. {option}" for letter, option in zip("ABCD", item.options, strict=False))
        assert f" Options: {listed}. " in item.prompt


@given(items("choice"))
@settings(max_examples=40, deadline=None)
def test_the_right_option_is_right_and_no_other_is(asked: Asked) -> None:
    scene, item = asked
    right = item.options["ABCD".index(item.gold[0])]
    if item.kind == "count":
        assert right == str(len(fitting(item.question, scene)))
    elif item.kind == "odd-one-out":
        colours = Counter(scene.objects[i].colour for i in item.about)
        assert colours[right] == 1
        assert all(colours[option] != 1 for option in item.options if option != right)
    elif item.kind == "word":
        assert right in [sign.word for sign in scene.signs if sign.cells == item.cells]
    elif item.kind == "ground":
        assert {right} == {ground_at(scene.grounds, *cell) for cell in item.cells}
    else:
        assert right == getattr(scene.objects[item.about[0]], "mark" if item.kind == "digit" else item.kind)


@given(items("choice", kind=0, kinds=8))
@settings(max_examples=30, deadline=None)
def test_wrong_counts_are_near(asked: Asked) -> None:
    counts = sorted(int(option) for option in asked[1].options)
    assert counts[-1] - counts[0] <= 4


@given(items("choice", kind=1, kinds=8))
@settings(max_examples=30, deadline=None)
def test_wrong_colours_are_colours_of_the_scene_first(asked: Asked) -> None:
    scene, item = asked
    there = {thing.colour for thing in scene.objects}
    assert len(there & set(item.options)) == min(len(there), 4)


def test_a_caption_is_asked_for_as_in_the_paper() -> None:
    scene, item = sample_item("caption", "test", 0)
    assert (item.prompt, item.options, len(item.gold)) == (CAPTION, (), 5)
    assert item.about == tuple(range(len(scene.objects)))


def test_some_science_needs_no_picture() -> None:
    bare = [item.about == () for item in drawn("science") if item.kind == "knowledge"]
    assert all(bare)
    assert len(bare) / len(drawn("science")) == pytest.approx(1 / 4, abs=0.01)


def test_open_questions_are_typed_in_several_ways() -> None:
    as_asked = np.mean([item.prompt == item.question for item in drawn("open")])
    assert 0.5 < as_asked < 0.95
    assert any("color" in item.prompt for item in drawn("open"))
