"""Questions that need no picture: general knowledge about the world, for appendix B's filter to find."""

from numpy.random import Generator

from visionflow.scenes.description import plural
from visionflow.scenes.phrases import a
from visionflow.scenes.questions import Question
from visionflow.scenes.world import Scene, pick

_CORNERS = {"triangle": "3", "square": "4", "diamond": "4", "circle": "0"}
_NUMBERS = ("0", "1", "2", "3", "4", "5", "6")
_MIXED = {("red", "yellow"): "orange", ("blue", "yellow"): "green", ("red", "blue"): "purple"}
_PAINTS = ("orange", "green", "purple", "white", "black")
_USUAL = {
    "grass": "green",
    "snow": "white",
    "coal": "black",
    "a lemon": "yellow",
    "blood": "red",
    "the clear sky": "blue",
}
_USUAL_COLOURS = ("green", "white", "black", "yellow", "red", "blue", "purple", "orange")


def knowledge(_: Scene, rng: Generator) -> Question:
    """Corners of shapes, mixed paints, the usual colour of things."""
    return pick(rng, (_corners, _mixture, _usual))(rng)


def _corners(rng: Generator) -> Question:
    shape = pick(rng, list(_CORNERS))
    text = pick(rng, (f"How many corners does {a(shape)} have?", f"How many corners do {plural(shape)} have?"))
    return Question(text, _CORNERS[shape], "knowledge", (), _NUMBERS)


def _mixture(rng: Generator) -> Question:
    paints = pick(rng, list(_MIXED))
    one, other = paints if rng.random() < 0.5 else paints[::-1]
    return Question(f"Which paint does one get from {one} and {other}?", _MIXED[paints], "knowledge", (), _PAINTS)


def _usual(rng: Generator) -> Question:
    thing = pick(rng, list(_USUAL))
    return Question(f"Which colour is {thing} as a rule?", _USUAL[thing], "knowledge", (), _USUAL_COLOURS)
