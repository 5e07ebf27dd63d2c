"""Lessons: what the embedded model learns from, with answers that are right."""

import re
from collections import Counter

import numpy as np
from hypothesis import given, settings
from numpy.random import Generator

from tests.scenes.strategies import CROWDED, NUMBERS, SPARSE, STREAMS, fitting
from visionflow.scenes import FULL, Lesson, Scene, course, drill, lessons, sample_scene, scene_rng
from visionflow.scenes.captions import caption
from visionflow.scenes.phrases import CAPTION, DESCRIBE
from visionflow.scenes.world import FEW


@given(CROWDED, STREAMS)
@settings(max_examples=15, deadline=None)
def test_as_many_different_prompts_as_asked_for(scene: Scene, rng: Generator) -> None:
    learned = lessons(scene, rng, 6)
    assert len({lesson.prompt for lesson in learned}) == len(learned) == 6
    assert all(lesson.answer for lesson in learned)


@given(CROWDED, NUMBERS)
@settings(max_examples=5, deadline=None)
def test_the_same_stream_gives_the_same_lessons(scene: Scene, seed: int) -> None:
    assert lessons(scene, np.random.default_rng(seed), 4) == lessons(scene, np.random.default_rng(seed), 4)


@given(SPARSE, STREAMS)
@settings(max_examples=15, deadline=None)
def test_a_scene_of_few_objects_is_described_once(scene: Scene, rng: Generator) -> None:
    learned = lessons(scene, rng, 3)
    described = [lesson for lesson in learned if lesson.prompt in (CAPTION, *DESCRIBE)]
    assert described == learned[:1]
    assert described[0].answer in [caption(scene, wording) for wording in range(5)]


@given(CROWDED, STREAMS)
@settings(max_examples=15, deadline=None)
def test_what_can_be_worked_out_again_is_right(scene: Scene, rng: Generator) -> None:
    for prompt, answer in ((lesson.prompt, lesson.answer) for lesson in lessons(scene, rng, 6)):
        asked = prompt.removeprefix("question: ").removesuffix(" Please just answer yes or no.")
        if answer in ("yes", "no"):
            assert answer == ("yes" if fitting(asked, scene) else "no")
        elif answer.isdigit() and "Options:" not in prompt:
            assert answer == str(len(fitting(asked, scene)))


def form(lesson: Lesson) -> str:
    """Its task; with letters only where they are asked for in the task's own words."""
    if lesson.prompt in (CAPTION, *DESCRIBE):
        return "caption"
    if lesson.meant is None:
        return "existence" if lesson.answer in ("yes", "no") else "open"
    if "Output the letter" in lesson.prompt:
        return "choice"
    return "science" if "Options:" in lesson.prompt else "letters as typed"


def test_every_task_is_taught_as_the_course_deals_them() -> None:
    """At least half as often: where a scene allows no such question, another one is drawn."""
    rng = scene_rng("train", 1)
    scenes = [sample_scene(rng, FULL.between) for _ in range(100)]
    found = Counter(form(lesson) for scene in scenes for lesson in lessons(scene, rng, 6))
    dealt = Counter(FULL.tasks)
    shares = {
        "open": dealt["open"],
        "existence": dealt["existence"],
        "choice": dealt["choice"] * (1 - FULL.bare),
        "science": dealt["science"] * (1 - FULL.bare),
        "letters as typed": (dealt["choice"] + dealt["science"]) * FULL.bare,
    }
    for name, share in shares.items():
        assert found[name] / found.total() > 0.5 * share / dealt.total(), name
    assert found["caption"] == sum(len(scene.objects) <= FEW[1] for scene in scenes) > 0


def test_lessons_grow_from_few_objects_and_short_questions_to_everything() -> None:
    start, middle, end = course(0.0), course(0.25), course(1.0)
    assert start.between == (3, 5)
    assert start.between[1] < middle.between[1] < end.between[1]
    assert set(start.tasks) == {"open", "existence"}
    assert end == FULL
    rng = scene_rng("train", 3)
    prompts = [lesson.prompt for lesson in lessons(sample_scene(rng, start.between), rng, 20, start)]
    assert not any("Options:" in prompt for prompt in prompts)


def test_drills_ask_for_the_letter_of_one_of_their_options() -> None:
    rng = scene_rng("train", 4)
    drills = [drill(rng) for _ in range(200)]
    for each in drills:
        named = each.prompt.partition("Which letter is ")[2].partition("?")[0]
        options = dict(re.findall(r"([A-D])\. ([^.]+?)(?= [A-D]\.|\.|$)", each.prompt))
        assert options[each.answer] == named
        assert list(options.values()).count(named) == 1
    assert Counter(each.answer for each in drills).keys() == set("ABCD")
    assert len({each.prompt.startswith("Analyse") for each in drills}) == 2
