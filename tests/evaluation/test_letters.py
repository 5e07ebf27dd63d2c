"""Letters of multiple-choice answers, on the awkward forms that real models emit."""

from string import ascii_uppercase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionflow.errors import VisionFlowError
from visionflow.evaluation import option_letter

OPTIONS = ("red circle", "cat", "green square", "3")

letters = st.sampled_from("ABCD")


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        # nothing but a letter
        ("A", "A"),
        ("b", "B"),
        ("a", "A"),
        ("A.", "A"),
        ("(A)", "A"),
        ("A)", "A"),
        ("**A**", "A"),
        ("'B'", "B"),
        ("<b>B</b>", "B"),
        (" C.\n", "C"),
        ("（Ｂ）", "B"),
        # an option's text
        ("red circle", "A"),
        ("The red circle.", "A"),
        ("A cat", "B"),
        ("three", "D"),
        # a letter and what follows
        ("B. cat", "B"),
        ("B: cat", "B"),
        ("(C) green square", "C"),
        ("B. red circle", "B"),  # another option's text: the letter is what was asked for
        ("B) because A is too small", "B"),
        ("B\n\nThe cat sits there.", "B"),
        ("b\nThe cat sits there.", "B"),
        ("b - cat", "B"),
        ("B. A cat", "B"),
        # after a cue
        ("The answer is B", "B"),
        ("The answer is (b).", "B"),
        ("Answer: C", "C"),
        ("Answer:\nC", "C"),
        ("answer: option D", "D"),
        ("My answer is: **B**", "B"),
        ("Option D.", "D"),
        ("option d", "D"),
        ("The correct option is C", "C"),
        ("Option A is wrong; the answer is B", "B"),
        ("The answer is a cat.", "B"),
        ("The answer is A cat", "B"),
        ("The answer is A because it is red", "A"),
        # somewhere
        ("I think it is B", "B"),
        ("It's B.", "B"),
        ("B red circle", "B"),
        ("A is correct", "A"),
        (r"$\boxed{B}$", "B"),
        ("choose (b)", "B"),
        ("where the X is, so B", "B"),
        ("A 3", "A"),
        # an article, a pronoun, a part of a word
        ("A big red circle", None),
        ("A dog", None),
        ("I see nothing", None),
        ("C-shaped", None),
        ("I'D SAY NOTHING", None),
        # several
        ("A, B", None),
        ("A or B", None),
        ("A) and B)", None),
        ("A/C", None),
        ("Both A and B", None),
        ("The answer is A or B", None),
        ("A. B", None),
        # beyond the last option
        ("E", None),
        ("(E)", None),
        ("E. cat", None),
        ("The answer is E", None),
        # denied, merely mentioned, nothing
        ("It is not B", None),
        ("The answer is not B", None),
        ("The picture shows a cat.", None),
        ("none", None),
        ("?", None),
        ("", None),
    ],
)
def test_awkward_forms(answer: str, letter: str | None) -> None:
    assert option_letter(answer, OPTIONS) == letter


@pytest.mark.parametrize(
    ("answer", "letter"),
    [("C", "C"), ("A. C", "A"), ("the letter C", "C"), ("A. B", None), ("D. A", "D")],
)
def test_options_that_are_letters(answer: str, letter: str | None) -> None:
    """A lone letter is the option's name; after one, its own text is no second choice."""
    assert option_letter(answer, ("C", "E", "F", "A")) == letter


def test_an_options_text_may_hold_another_options_letter() -> None:
    assert option_letter("vitamin A", ("milk", "vitamin A", "vitamin B")) == "B"
    assert option_letter("Vitamin B.", ("milk", "vitamin A", "vitamin B")) == "C"


def test_options_of_equal_text_name_none_and_an_empty_one_is_not_named_by_silence() -> None:
    assert option_letter("red", ("red", "Red.", "blue")) is None
    assert option_letter("...", ("red", "", "blue")) is None


@given(
    letters, st.sampled_from(("{}", "{}.", "({})", "[{}]", "**{}**", "The answer is {}", "Answer: {}", "{}. because"))
)
def test_every_letter_in_every_dress(letter: str, dress: str) -> None:
    assert option_letter(dress.format(letter), OPTIONS) == letter
    assert option_letter(dress.format(letter.lower()), OPTIONS) == letter


@given(st.text(), st.integers(1, 26))
def test_any_text_gives_a_letter_of_the_options_or_none(answer: str, number: int) -> None:
    letter = option_letter(answer, [f"thing {i}" for i in range(number)])
    assert letter is None or letter in ascii_uppercase[:number]


@given(letters)
def test_the_text_stands_for_its_letter(letter: str) -> None:
    assert option_letter(OPTIONS["ABCD".index(letter)].upper(), OPTIONS) == letter


@pytest.mark.parametrize("number", [0, 27])
def test_options_without_letters_are_refused(number: int) -> None:
    with pytest.raises(VisionFlowError, match=f"not {number}"):
        option_letter("A", ["x"] * number)
