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
DIGIT = ("Which digit is on the {}?", "What digit is on the {}?", "Which number does the {} have?")
WORD = ("What does the {} say?", "Which word is on the {}?", "Read the {}.")
SIGN = ("What colour is the sign that says {}?", "Which colour is the {} sign?")
HALF = (
    ("Is the {} in the left or right half?", "In which half is the {}, left or right?"),
    ("Is the {} in the top or bottom half?", "In which half is the {}, top or bottom?"),
)
QUARTER = ("In which quarter of the picture is the {}?", "Which quarter is the {} in?")
WHERE = ("Where is the {}?", "In which row and column is the {}?", "Give the place of the {}.")
PLACE = "row {}, column {}"
AT = ("What is in {}?", "What is at {}?", "Which object is in {}?")
NOTHING = "nothing"
EMPTY = ("Is {} empty?", "Is there nothing in {}?")
STREWN = ("Are there {} in the picture?", "Are there {}?", "Do you see {}?")
GROUND_AT = ("What is the ground in the {} corner?", "Which ground is in the {} corner?")
GROUND_UNDER = ("On which ground is the {}?", "What is the {} on?")
EXISTENCE = ("Is there {} in the picture?", "Is there {} in the image?", "Is there {}?")
ACROSS = "Is the {} left or right of the {}?"
DOWN = "Is the {} above or below the {}?"
COMPARISON = ("Which are there more of, {} or {}?", "Are there more {} or {}?")
ODD_ONE_OUT = ("Which colour is the odd one out among the {}?", "What colour is the {} that differs from the others?")

WHICH_PICTURE = (
    "In which picture is {}?",
    "Which picture shows {}?",
    "Is there {} in the first or the second picture?",
)
MORE_IN = "Which picture has more {}?"

IT = {
    "colour": "What colour is it?",
    "shape": "What shape is it?",
    "mark": "Which mark is on it?",
    "digit": "Which digit is on it?",
    "where": "Where is it?",
    "size": "Is it small or large?",
}
"""Asked again about what was just spoken of."""
AND = ("And {}?", "And how many {}?", "How many {}?")
LETTER = "Which letter is that? {options}"

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
    return f"an {noun}" if noun[0] in "aeiou8" else f"a {noun}"


def in_picture(text: str, ordinal: str, rng: Generator) -> str:
    """The question about one of several pictures: `In the first picture, how many ...?`, or the same at its end."""
    if "in the picture" in text:
        return text.replace("in the picture", f"in the {ordinal} picture")
    if rng.random() < 0.5:
        return f"In the {ordinal} picture, {text[0].lower()}{text[1:]}"
    return f"{text[:-1]} in the {ordinal} picture{text[-1]}"


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
