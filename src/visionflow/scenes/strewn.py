"""Questions that call litter by its name: whether there is such, how many, which there is more of, and where one lies.

What is asked for by its place alone is soon worth less to a model than what is asked for by name, and its features say
so: these lessons keep litter and objects alike in that.
"""

from itertools import product

from numpy.random import Generator

from visionflow.scenes import phrases
from visionflow.scenes.description import plural
from visionflow.scenes.litter import LITTER
from visionflow.scenes.places import Cell, place
from visionflow.scenes.questions import MOST, Question
from visionflow.scenes.world import COLOURS, Scene, pick

_MANY = {"leaf": "leaves", "seeds": "seeds"}


def strewn(scene: Scene, rng: Generator) -> Question | None:
    """Any of the questions of this file; None where nothing lies about."""
    return pick(rng, (_any, _how_many, _more, _lies))(scene, rng) if scene.litter else None


def _any(scene: Scene, rng: Generator) -> Question | None:
    """Whether something of this colour and kind lies about: half of the time something does."""
    there = {(each.colour, each.kind) for each in scene.litter}
    missing = [pair for pair in product(COLOURS, LITTER) if pair not in there]
    lies = not missing or rng.random() < 0.5
    colour, kind = pick(rng, sorted(there) if lies else missing)
    text = pick(rng, phrases.STREWN).format(_called(colour, kind))
    return Question(text, "yes" if lies else "no", "strewn", (), ("yes", "no"), _cells(scene, colour, kind))


def _how_many(scene: Scene, rng: Generator) -> Question | None:
    colour, kind = pick(rng, tuple(COLOURS)), pick(rng, LITTER)
    if rng.random() < 0.7:
        one = pick(rng, scene.litter)
        colour, kind = one.colour, one.kind
    cells = _cells(scene, colour, kind)
    if len(cells) > MOST:
        return None
    text = pick(rng, phrases.COUNT).format(_called(colour, kind))
    return Question(text, str(len(cells)), "strewn", (), tuple(str(number) for number in range(MOST + 1)), cells)


def _more(scene: Scene, rng: Generator) -> Question | None:
    one, other = (str(kind) for kind in rng.choice(LITTER, size=2, replace=False))
    cells = _cells(scene, None, one), _cells(scene, None, other)
    if len(cells[0]) == len(cells[1]):
        return None
    answers = (_called(None, one), _called(None, other))
    text = pick(rng, phrases.COMPARISON).format(*answers)
    return Question(text, answers[len(cells[1]) > len(cells[0])], "strewn", (), answers, cells[0] + cells[1])


def _lies(scene: Scene, rng: Generator) -> Question | None:
    """Row and column of what nothing else is called like."""
    one = pick(rng, scene.litter)
    cells = _cells(scene, one.colour, one.kind)
    if len(cells) > 1:
        return None
    text = pick(rng, phrases.WHERE).format(one.name)
    return Question(
        text, place(one.cell), "strewn", (), tuple(sorted({place(each.cell) for each in scene.litter})), cells
    )


def _called(colour: str | None, kind: str) -> str:
    """`red leaves`, `leaves`."""
    return " ".join(word for word in (colour, _MANY.get(kind) or plural(kind)) if word)


def _cells(scene: Scene, colour: str | None, kind: str) -> tuple[Cell, ...]:
    """Where litter of this kind lies, of any colour or of this one."""
    return tuple(each.cell for each in scene.litter if each.kind == kind and colour in (None, each.colour))
