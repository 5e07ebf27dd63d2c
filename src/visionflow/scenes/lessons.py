"""What the embedded model learns from: conversations about one or two pictures, with the answers it should give."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from visionflow.scenes import phrases
from visionflow.scenes.captions import caption
from visionflow.scenes.dialogue import Turn, about_one, counted, then_the_letter
from visionflow.scenes.existence import SAMPLINGS, existence
from visionflow.scenes.knowledge import knowledge
from visionflow.scenes.patches import relevant_patches
from visionflow.scenes.places import ground, half, quarter
from visionflow.scenes.questions import (
    Maker,
    Question,
    ask,
    colour,
    comparison,
    count,
    digit,
    mark,
    odd_one_out,
    relation,
    shape,
)
from visionflow.scenes.reading import word
from visionflow.scenes.several import Pair, Shared, in_one, more_in, which_picture
from visionflow.scenes.tasks import LETTERS, OPEN, lettered, plausible
from visionflow.scenes.world import CELLS, COLOURS, MARKS, SHAPES, Scene, pick

FEW_NAMED = 5
"""Up to so many objects, one sentence names them all."""


@dataclass(frozen=True)
class Lesson:
    """A conversation, its kind, and the patches its answers rest on, bool [pictures, CELLS, CELLS]."""

    kind: str
    turns: tuple[Turn, ...]
    shown: NDArray[np.bool_]


@dataclass(frozen=True)
class Course:
    """What is taught at some time: fewest and most objects in a picture, and kinds of lessons with their weights.

    `few` is the share of pictures with so few objects that one sentence names them all.
    """

    between: tuple[int, int]
    weights: tuple[tuple[str, float], ...]
    few: float = 0.0

    def some_between(self, rng: Generator) -> tuple[int, int]:
        """Fewest and most objects of a picture."""
        return (self.between[0], FEW_NAMED) if self.few and rng.random() < self.few else self.between

    def some_kind(self, rng: Generator) -> str:
        """Any kind, by weight."""
        weights = np.array([weight for _, weight in self.weights])
        return self.weights[int(rng.choice(len(weights), p=weights / weights.sum()))][0]


_GROUNDING = {
    **dict.fromkeys(("colour", "shape", "mark", "digit", "word"), 2.0),
    **{"ground": 1.0, "under": 1.0},
    **{"sign": 1.0, "half": 3.0, "quarter": 1.0, "where": 4.0, "at": 4.0, "empty": 1.0},
    **{"existence": 3.0, "strewn": 5.0, "drill": 2.0, "about-one": 2.0, "caption": 1.0},
}
_REASONING = {"count": 5.0, "relation": 5.0, "comparison": 2.0, "odd-one-out": 4.0, "counted": 2.0}
_LETTERS = {"then-letter": 6.0, "lettered": 6.0, "knowledge": 1.0}
_LAST = {
    **dict.fromkeys(("colour", "shape", "mark", "digit", "word", "ground", "under", "half", "quarter", "drill"), 1.0),
    **{"sign": 2.0, "where": 2.0, "at": 6.0, "empty": 3.0, "strewn": 8.0, "existence": 2.0, "about-one": 1.0},
    **{"count": 9.0, "relation": 4.0, "comparison": 3.0, "odd-one-out": 5.0, "counted": 4.0},
    **{"then-letter": 4.0, "lettered": 45.0, "knowledge": 1.0, "caption": 30.0},
}
"""What is learnt last and slowest: letters, and captions of pictures with few objects."""

_LETTERED: tuple[Maker, ...] = (
    *(count, count, colour, colour, shape, shape, mark, mark, digit, word, ground, relation, comparison),
    *(half, quarter, odd_one_out, odd_one_out, odd_one_out),
)
_WRONG = (1, 2, 3, 3, 3)
"""How many wrong options a lettered question has."""

_WORDINGS = ("{question} {options}", phrases.CHOICE, phrases.CHOICE, phrases.CHOICE, phrases.SCIENCE)
_OPTIONS = (
    *(tuple(COLOURS),) * 2,
    SHAPES,
    MARKS,
    tuple("0123456789"),
    ("left", "right"),
    ("above", "below"),
    tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES),
)


def course(progress: float) -> Course:
    """From few objects and where they are (`progress` 0) to everything (1), and what is learnt last (2.7 and more)."""
    most = round(5 + 11 * min(1.0, progress))
    if progress < 0.25:
        return _course((2, most), _GROUNDING)
    if progress < 0.6:
        return _course((2, most), _GROUNDING | _REASONING | {"then-letter": 3.0})
    if progress < 2.7:
        return _course((2, most), _GROUNDING | _REASONING | _LETTERS)
    return _course((2, most), _LAST, few=0.4)


def lessons(scene: Scene, rng: Generator, number: int, taught: Course) -> list[Lesson]:
    """So many lessons about the scene, no question of a kind twice."""
    learned: dict[tuple[str, str], Lesson] = {}
    for _ in range(4 * number):
        lesson = _ABOUT_ONE[taught.some_kind(rng)](scene, rng)
        if lesson is not None:
            learned.setdefault((lesson.kind, lesson.turns[0].prompt), lesson)
        if len(learned) == number:
            break
    return list(learned.values())


def lesson_about(kind: str, scenes: tuple[Scene, ...], rng: Generator) -> Lesson | None:
    """A lesson of that kind about one scene or two, or None where the scenes allow none."""
    return _ABOUT_ONE[kind](scenes[0], rng) if len(scenes) == 1 else _ABOUT_TWO[kind]((scenes[0], scenes[1]), rng)


def shared_lessons(scenes: Pair, rng: Generator, number: int) -> list[Lesson]:
    """So many lessons about two pictures."""
    learned: dict[str, Lesson] = {}
    for _ in range(4 * number):
        lesson = _ABOUT_TWO[pick(rng, _KINDS_ABOUT_TWO)](scenes, rng)
        if lesson is not None:
            learned.setdefault(lesson.turns[0].prompt, lesson)
        if len(learned) == number:
            break
    return list(learned.values())


def _course(between: tuple[int, int], weights: dict[str, float], few: float = 0.0) -> Course:
    return Course(between, tuple(weights.items()), few)


def _lesson(
    kind: str,
    turns: tuple[Turn, ...],
    scene: Scene,
    about: Iterable[int],
    cells: Iterable[tuple[int, int]] = (),
) -> Lesson:
    return Lesson(kind, turns, relevant_patches(scene, about, CELLS, cells)[None])


def _opened(maker: Maker, kind: str) -> Callable[[Scene, Generator], Lesson | None]:
    def make(scene: Scene, rng: Generator) -> Lesson | None:
        question = ask(scene, rng, maker)
        return _typed(kind, question, scene, rng) if question else None

    return make


def _typed(kind: str, question: Question, scene: Scene, rng: Generator) -> Lesson:
    turn = Turn(phrases.as_typed(question.text, rng), question.answer)
    return _lesson(kind, (turn,), scene, question.about, question.cells)


def _existence(scene: Scene, rng: Generator) -> Lesson | None:
    question = existence(scene, rng, pick(rng, tuple(SAMPLINGS)), bool(rng.random() < 0.5))
    text = phrases.YES_NO.format(question=question.text) if rng.random() < 0.3 else phrases.as_typed(question.text, rng)
    return _lesson("existence", (Turn(text, question.answer),), scene, question.about)


def _caption(scene: Scene, rng: Generator) -> Lesson | None:
    if len(scene.objects) > FEW_NAMED:
        return None
    prompt = phrases.CAPTION if rng.random() < 0.6 else pick(rng, phrases.DESCRIBE)
    return _lesson("caption", (Turn(prompt, caption(scene, 0)),), scene, range(len(scene.objects)))


def _lettered(scene: Scene, rng: Generator) -> Lesson | None:
    return _with_letters("lettered", ask(scene, rng, pick(rng, _LETTERED)), scene, rng)


def _knowledge(scene: Scene, rng: Generator) -> Lesson | None:
    return _with_letters("knowledge", knowledge(scene, rng), scene, rng)


def _with_letters(kind: str, question: Question | None, scene: Scene, rng: Generator) -> Lesson | None:
    """The question with two to four options, mostly four, in the words of the tasks or without any instruction."""
    if question is None:
        return None
    options = plausible(scene, question, rng, pick(rng, _WRONG))
    if not options:
        return None
    right = int(rng.integers(len(options) + 1))
    options.insert(right, question.answer)
    wording = pick(rng, _WORDINGS)
    turn = Turn(wording.format(question=question.text, options=lettered(options)), LETTERS[right], question.answer)
    return _lesson(kind, (turn,), scene, question.about, question.cells)


def _drill(scene: Scene, rng: Generator) -> Lesson | None:
    """To say the letter of a named option: half of a lettered question, learnt apart from seeing."""
    pool = pick(rng, _OPTIONS)
    size = min(len(pool), int(rng.integers(2, 5)))
    options = [str(option) for option in rng.choice(pool, size=size, replace=False)]
    right = int(rng.integers(size))
    turn = Turn(f"Which letter is {options[right]}? {lettered(options)}", LETTERS[right], options[right])
    return _lesson("drill", (turn,), scene, ())


def _then_letter(scene: Scene, rng: Generator) -> Lesson | None:
    talk = then_the_letter(scene, rng, _LETTERED)
    return _lesson("then-letter", talk[0], scene, *talk[1:]) if talk else None


def _about_one(scene: Scene, rng: Generator) -> Lesson | None:
    talk = about_one(scene, rng)
    return _lesson("about-one", talk[0], scene, *talk[1:]) if talk else None


def _counted(scene: Scene, rng: Generator) -> Lesson | None:
    talk = counted(scene, rng)
    return _lesson("counted", talk[0], scene, *talk[1:]) if talk else None


_ABOUT_ONE: dict[str, Callable[[Scene, Generator], Lesson | None]] = {
    **{kind: _opened(maker, kind) for kind, maker in OPEN.items()},
    "existence": _existence,
    "caption": _caption,
    "lettered": _lettered,
    "knowledge": _knowledge,
    "drill": _drill,
    "then-letter": _then_letter,
    "about-one": _about_one,
    "counted": _counted,
}


def _in_picture(scenes: Pair, rng: Generator) -> Lesson | None:
    found = in_one(scenes, rng)
    if found is None:
        return None
    question, one = found
    shown = np.zeros((2, CELLS, CELLS), dtype=np.bool_)
    shown[one] = relevant_patches(scenes[one], question.about, CELLS, question.cells)
    return _asked_of_two(question, shown, rng)


def _of_both(make: Callable[[Pair, Generator], Shared | None]) -> Callable[[Pair, Generator], Lesson | None]:
    def lesson(scenes: Pair, rng: Generator) -> Lesson | None:
        shared = make(scenes, rng)
        if shared is None:
            return None
        question, about = shared
        shown = np.stack([relevant_patches(scene, each, CELLS) for scene, each in zip(scenes, about, strict=True)])
        return _asked_of_two(question, shown, rng)

    return lesson


def _asked_of_two(question: Question, shown: NDArray[np.bool_], rng: Generator) -> Lesson:
    return Lesson(question.kind, (Turn(phrases.as_typed(question.text, rng), question.answer),), shown)


_ABOUT_TWO: dict[str, Callable[[Pair, Generator], Lesson | None]] = {
    "in-picture": _in_picture,
    "which-picture": _of_both(which_picture),
    "more-in": _of_both(more_in),
}
_KINDS_ABOUT_TWO = (*("in-picture",) * 3, "which-picture", "more-in")
