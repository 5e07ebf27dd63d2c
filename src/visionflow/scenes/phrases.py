"""The wordings: several per question, because users do not all type the same sentence."""

from numpy.random import Generator

COUNT = (
    "How many {} are there?",
    "How many {} are there?",
    "How many {} are in the picture?",
    "How many {} do you see?",
    "How many {} can you see in the image?",
    "Count the {}.",
    "What is the number of {}?",
)
ANYTHING = ("objects", "objects", "objects", "shapes", "things")
COLOUR = (
    "What colour is the {}?",
    "What colour is the {}?",
    "What is the colour of the {}?",
    "Which colour is the {}?",
    "What colour does the {} have?",
)
SHAPE = (
    "What shape is the {}?",
    "What shape is the {}?",
    "What is the shape of the {}?",
    "Which shape is the {}?",
    "What shape does the {} have?",
)
EXISTENCE = (
    "Is there {}?",
    "Is there {} in the picture?",
    "Is there {} in the image?",
    "Do you see {}?",
    "Does the picture show {}?",
    "Can you see {}?",
)
SIDES = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}
WHAT_IS_THERE = ("What is {} the {}?", "What object is {} the {}?", "Which object is {} the {}?")
IS_IT_THERE = ("Is the {} {} the {}?",)
LETTER_ONLY = (
    "\nAnswer with the letter.",
    "\nAnswer with the option's letter from the given choices directly.",
    "",
)
LISTING = ("List the objects.", "What is in the picture?", "What do you see?", "Describe the picture.")

_AMERICAN = 0.4
_SLOPPY = 0.15


def a(noun: str) -> str:
    """The noun with its indefinite article."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def as_typed(text: str, rng: Generator) -> str:
    """The question as some user types it: American spelling, no capital, no question mark, each now and then."""
    american, lower, bare = rng.random(3)
    if american < _AMERICAN:
        text = text.replace("colour", "color")
    if lower < _SLOPPY:
        text = text[0].lower() + text[1:]
    if bare < _SLOPPY:
        text = text.replace("?", "", 1) if "?" in text else text.replace(".", "", 1)
    return text
