"""The wordings: several per question, because users do not all type the same sentence."""

from numpy.random import Generator

COUNT = (
    "How many {} are there?",
    "How many {} are there?",
    "How many {} are in the picture?",
    "How many {} do you see?",
    "Count the {}.",
)
COLOUR = ("What colour is the {}?", "What colour is the {}?", "What is the colour of the {}?")
SHAPE = ("What shape is the {}?", "What shape is the {}?", "What is the shape of the {}?")
MARK = ("What mark is on the {}?", "What mark does the {} have?", "Which mark is on the {}?")
EXISTENCE = ("Is there {} in the picture?", "Is there {} in the image?", "Is there {}?")
ACROSS = "Is the {} left or right of the {}?"
DOWN = "Is the {} above or below the {}?"
COMPARISON = ("Which are there more of, {} or {}?", "Are there more {} or {}?")
ODD_ONE_OUT = ("Which colour is the odd one out among the {}?", "What colour is the {} that differs from the others?")

# Appendix E of the HiMAP paper.
CAPTION = "Provide a one-sentence caption for the provided image."
CHOICE = (
    "Analyse the image and choose the best answer for the following question: {question} "
    "Options: {options}. Output the letter of the correct answer."
)
SCIENCE = "{question} Options: {options}. Answer with the option's letter from the given choices directly."
YES_NO = "question: {question} Please just answer yes or no."

DESCRIBE = ("Describe the picture.", "What is in the picture?", "What do you see?", "List the objects.")
CAPTIONS = (
    "{}.",
    "There is {}.",
    "A picture of {}.",
    "The picture shows {}.",
    "We see {}.",
)
"""Five ways to say what is there: one for each reference of a picture."""

_AMERICAN = 0.3
_SLOPPY = 0.1


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
        text = text.rstrip("?.")
    return text
