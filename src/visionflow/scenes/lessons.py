"""What the embedded model learns from: questions of all tasks about one scene, with the answers it should give."""

from dataclasses import dataclass, replace

from numpy.random import Generator

from visionflow.scenes import phrases
from visionflow.scenes.captions import some_caption
from visionflow.scenes.questions import ask, colour, comparison, count, mark, odd_one_out, relation, shape
from visionflow.scenes.tasks import LETTERS, TASKS, Item, lettered
from visionflow.scenes.world import COLOURS, FEW, MANY, MARKS, SHAPES, Scene, pick


@dataclass(frozen=True)
class Lesson:
    """A prompt and the answer to give; of a letter also what it stands for, which is to be known before it."""

    prompt: str
    answer: str
    meant: str | None = None


@dataclass(frozen=True)
class Course:
    """What is taught at some time.

    Attributes:
        between: fewest and most objects in a scene.
        tasks: the tasks that questions are drawn from, each as often as it stands there.
        bare: how often a question is asked as a user would type it, without instructions.
    """

    between: tuple[int, int]
    tasks: tuple[str, ...]
    bare: float


FULL = Course((FEW[0], MANY[1]), (*("open",) * 5, *("existence",) * 2, *("choice",) * 5, *("science",) * 3), 0.5)
"""Everything, in pictures with few or many objects."""

_COMPLETE = 0.6

# What takes longest to learn is taught most.
_OPEN = (*(count,) * 4, *(relation,) * 3, *(odd_one_out,) * 3, colour, shape, mark, comparison)

_OPTIONS = (
    *(tuple(COLOURS),) * 2,
    SHAPES,
    MARKS,
    tuple("0123456"),
    ("left", "right"),
    ("above", "below"),
    tuple(f"{colour} {shape}s" for colour in COLOURS for shape in SHAPES),
)


def course(progress: float) -> Course:
    """From few objects and short questions (`progress` 0) to everything (1 and more).

    To look something up among four objects is soon learnt, and then only has to be sharpened; among fourteen it takes
    many times as long to be found at all.
    """
    most = round(FEW[1] + (MANY[1] - FEW[1]) * min(1.0, progress))
    if progress < _COMPLETE:
        return Course((FEW[0], most), (*("open",) * 2, "existence"), 0.95)
    return replace(FULL, between=(FEW[0], most))


def lessons(scene: Scene, rng: Generator, number: int, taught: Course = FULL) -> list[Lesson]:
    """So many different questions about the scene; one of a scene with few objects is for a caption."""
    learned: dict[str, Lesson] = {}
    if len(scene.objects) <= FEW[1]:
        prompt = phrases.CAPTION if rng.random() >= taught.bare else pick(rng, phrases.DESCRIBE)
        learned[prompt] = Lesson(prompt, some_caption(scene, rng))
    while len(learned) < number:
        lesson = _some_lesson(scene, rng, taught)
        if lesson is not None:
            learned.setdefault(lesson.prompt, lesson)
    return list(learned.values())


def drill(rng: Generator) -> Lesson:
    """To say the letter of a named option, without a picture: half of a lettered question, learnt apart from seeing.

    The asked word has to be found again and the letter before it copied. That is hardly ever found from pictures,
    where the word has to be seen first and a batch holds few lettered questions.
    """
    pool = pick(rng, _OPTIONS)
    size = min(len(pool), int(rng.integers(2, 5)))
    options = [str(option) for option in rng.choice(pool, size=size, replace=False)]
    right = int(rng.integers(size))
    wording = pick(rng, ("{question} {options}", phrases.CHOICE, phrases.SCIENCE))
    question = f"Which letter is {options[right]}?"
    return Lesson(wording.format(question=question, options=lettered(options)), LETTERS[right], options[right])


def _some_lesson(scene: Scene, rng: Generator, taught: Course) -> Lesson | None:
    """One of any of the tasks, or None where the scene allows no such question."""
    task = pick(rng, taught.tasks)
    if task == "open":
        return _open(scene, rng)
    return _of_task(scene, rng, task, taught.bare)


def _open(scene: Scene, rng: Generator) -> Lesson | None:
    """A question with a short answer; not the task's own, which asks all kinds equally often."""
    question = ask(scene, rng, pick(rng, _OPEN))
    return Lesson(phrases.as_typed(question.text, rng), question.answer) if question else None


def _of_task(scene: Scene, rng: Generator, task: str, bare: float) -> Lesson | None:
    """A question as its task asks it or, so often as `bare` says, as a user would type it."""
    item = TASKS[task].make(scene, rng, int(rng.integers(2**30)))
    if item is None:
        return None
    meant = item.options[LETTERS.index(item.gold[0])] if item.options else None
    return Lesson(item.prompt if rng.random() >= bare else _typed(item, rng), item.gold[0], meant)


def _typed(item: Item, rng: Generator) -> str:
    """The question without instructions."""
    return f"{item.question} {lettered(item.options)}" if item.options else phrases.as_typed(item.question, rng)
