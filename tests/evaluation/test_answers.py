"""Yes and no under both conventions, and short answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionflow.errors import VisionFlowError
from visionflow.evaluation import matches, normalised, words, yes_no


@pytest.mark.parametrize(
    ("answer", "strict", "pope"),
    [
        ("Yes", True, True),
        ("yes.", True, True),
        ("No", False, False),
        ("No, there is no dog.", False, False),
        ("No, nothing.", False, False),
        ("There is no dog. Yes.", False, False),
        ("The dog is not there", False, False),
        ("Yes, but not a red one", True, False),
        # no, but POPE's rule knows only three spellings, cut at spaces
        ("NO", False, True),
        ("No!", False, True),
        ("no\n", False, True),
        ("There isn't one", False, True),
        ("There isn’t one", False, True),
        # neither, or both
        ("There is a cat", None, True),
        ("", None, True),
        ("Yes or no", None, False),
        ("I cannot say yes", None, True),
    ],
)
def test_yes_no(answer: str, strict: bool | None, pope: bool) -> None:
    assert yes_no(answer) is strict
    assert yes_no(answer, "pope") is pope


def test_an_unknown_convention_is_refused() -> None:
    with pytest.raises(VisionFlowError, match="strict, pope"):
        yes_no("yes", "POPE")


@pytest.mark.parametrize(
    ("answer", "plain"),
    [
        ("Two", "2"),
        ("twenty", "20"),
        ("none", "0"),
        ("The red circle.", "red circle"),
        ("an  apple!", "apple"),
        ("A", "a"),  # a lone letter is no article
        ("Left of the cat", "left of cat"),
        ("the 3", "3"),
        ("2.5", "2.5"),
        ("2.", "2"),
        ("the dog's T-shirt", "dogs t shirt"),
        ("...", ""),
    ],
)
def test_normalised(answer: str, plain: str) -> None:
    assert normalised(answer) == plain


def test_matches_any_accepted_answer_and_nothing_else() -> None:
    assert matches("Three.", ["3"])
    assert matches("the Grey cat", ["gray cat", "grey cat"])
    assert not matches("3 cats", ["3"])
    assert not matches("cats", ["cat"])
    assert not matches("cat", [])


def test_words_drop_punctuation_and_case() -> None:
    assert words("A red-brown dog's ball, 2.5 m away (really).") == [
        *("a", "red", "brown", "dogs", "ball"),
        *("2.5", "m", "away", "really"),
    ]


@given(st.text(st.characters(codec="ascii")))
def test_case_and_outer_punctuation_change_no_word(text: str) -> None:
    assert words(f"({text.upper()}!)") == words(text)
