"""CIDEr: pycocoevalcap's figure against the paper's formula, and against figures worked by hand."""

import math
import sys
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from visionflow.errors import VisionFlowError
from visionflow.evaluation import cider

REFERENCES = (
    ("a small red circle left of a cat", "there is a red circle and a cat", "a cat beside a red circle"),
    ("two blue squares above a green star", "a green star below two squares", "blue squares and a green star"),
    ("a red star", "one star that is red and a star in the corner", "a big red star in the corner"),
    ("nothing but a grey dog", "a dog", "a grey dog stands in the corner"),
)
CAPTIONS = (
    "a red circle and a cat",
    "two blue squares above a red star",
    "star star star star star",
    "there is a grey dog in the corner of the picture left of a small red circle",
)

Weights = dict[tuple[str, ...], float]


def ngrams(sentence: str, n: int) -> Counter[tuple[str, ...]]:
    tokens = sentence.split()
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def by_the_formula(captions: Sequence[str], references: Sequence[Sequence[str]], share: bool = False) -> list[float]:
    """CIDEr-D (arXiv:1411.5726), written from the formula: 10 times the mean over n = 1 to 4 and over the references of

    exp(-(l(c) - l(s))^2 / (2 * 6^2)) * sum min(g(c), g(s)) g(s) / (|g(c)| |g(s)|),

    g the n-grams' weights, count * log(pictures / pictures whose references have it); with `share` the count is divided
    by the sentence's number of n-grams, as the paper prints it and pycocoevalcap does not.
    """

    def weights(sentence: str, n: int) -> Weights:
        counts = ngrams(sentence, n)
        known = {gram: sum(any(gram in ngrams(s, n) for s in refs) for refs in references) for gram in counts}
        whole = counts.total() if share else 1
        return {gram: c / whole * math.log(len(references) / max(1, known[gram])) for gram, c in counts.items()}

    def likeness(caption: str, reference: str, n: int) -> float:
        ours, theirs = weights(caption, n), weights(reference, n)
        norms = math.hypot(*ours.values()) * math.hypot(*theirs.values())
        clipped = sum(min(ours[gram], weight) * weight for gram, weight in theirs.items() if gram in ours)
        length = len(caption.split()) - len(reference.split())
        return math.exp(-(length**2) / 72) * clipped / norms if norms else 0.0

    return [
        10 * sum(likeness(caption, each, n) for n in (1, 2, 3, 4) for each in several) / (4 * len(several))
        for caption, several in zip(captions, references, strict=True)
    ]


def test_it_is_the_formula_on_raw_counts() -> None:
    scores = cider(CAPTIONS, REFERENCES)
    assert scores is not None
    assert scores == pytest.approx(by_the_formula(CAPTIONS, REFERENCES), rel=1e-12)
    assert scores.min() > 0


def test_it_is_not_the_formula_on_shares() -> None:
    """What the docstring says of pycocoevalcap: clipping tells counts from shares where the lengths differ."""
    printed = by_the_formula(CAPTIONS, REFERENCES, share=True)
    assert np.abs(np.subtract(cider(CAPTIONS, REFERENCES), printed)).max() > 0.1


def test_a_set_worked_by_hand() -> None:
    """Every n-gram is known to one picture of two, so all weights are log 2 and cancel.

    "red cat" equals its reference: cosines 1, 1, 0, 0 of the 1- to 4-grams, so 10 * 2/4. "blue dog" equals its first
    reference and shares one word of two with its second, (2 + 1/2) / 2 in all, so 10 * 1.25/4.
    """
    scores = cider(["red cat", "blue dog"], [["red cat"], ["blue dog", "green dog"]])
    assert scores == pytest.approx([5, 3.125])


def test_length_and_repetition_are_paid_for_as_in_cider_d() -> None:
    """One word too many costs exp(-1/72), beside cosines of 2 / sqrt 6 and 1 / sqrt 2; three dogs count once."""
    off_by_one = math.exp(-1 / 72)
    scores = cider(["red cat sat", "dog dog dog"], [["red cat"], ["blue dog"]])
    longer = 10 * off_by_one * (2 / math.sqrt(6) + 1 / math.sqrt(2)) / 4
    repeated = 10 * off_by_one / (3 * math.sqrt(2)) / 4
    assert scores == pytest.approx([longer, repeated])


def test_case_and_punctuation_do_not_count() -> None:
    loud = [f"{caption.upper()}!" for caption in CAPTIONS]
    assert cider(loud, REFERENCES) == pytest.approx(cider(CAPTIONS, REFERENCES))


def test_an_equal_caption_of_four_words_scores_ten_and_an_empty_one_nothing() -> None:
    assert cider(["one two three four", ""], [["One two three four."], ["five six"]]) == pytest.approx([10, 0])


@pytest.mark.parametrize("pictures", [0, 1])
def test_fewer_than_two_pictures_are_undefined(pictures: int) -> None:
    assert cider(CAPTIONS[:pictures], REFERENCES[:pictures]) is None


@pytest.mark.parametrize("references", [[["a cat"]], [["a cat"], []], [["a cat"], ["", "."]]])
def test_a_caption_without_references_is_refused(references: list[list[str]]) -> None:
    with pytest.raises(VisionFlowError, match="at least one for each"):
        cider(["a cat", "a dog"], references)


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocoevalcap.cider.cider", None)
    with pytest.raises(VisionFlowError, match=r"pip install visionflow\[eval\]"):
        cider(CAPTIONS, REFERENCES)
