"""Questions about signs: what one says, and what colour the one with a word is."""

from numpy.random import Generator

from visionflow.scenes import phrases
from visionflow.scenes.questions import Question
from visionflow.scenes.sampling import WORDS
from visionflow.scenes.world import COLOURS, Scene, pick


def word(scene: Scene, rng: Generator) -> Question | None:
    """What a sign says; of several signs, the one of a colour."""
    if not scene.signs:
        return None
    sign = pick(rng, scene.signs)
    named = "sign" if len(scene.signs) == 1 and rng.random() < 0.6 else f"{sign.colour} sign"
    return Question(pick(rng, phrases.WORD).format(named), sign.word, "word", (), WORDS, sign.cells)


def sign(scene: Scene, rng: Generator) -> Question | None:
    """The colour of the sign with a word."""
    if not scene.signs:
        return None
    chosen = pick(rng, scene.signs)
    text = pick(rng, phrases.SIGN).format(chosen.word)
    return Question(text, chosen.colour, "sign", (), tuple(COLOURS), chosen.cells)
