"""Accuracy and POPE's metrics on confusion matrices worked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionflow.errors import VisionFlowError
from visionflow.evaluation import Confusion, accuracy

answers = st.lists(st.tuples(st.booleans(), st.sampled_from((True, False, None))), min_size=1)


def test_pope_metrics_of_a_constructed_matrix() -> None:
    """Of 20 questions 10 are yes: 8 found, 2 missed; of the other 10, 4 are wrongly said to be there."""
    gold = [True] * 10 + [False] * 10
    said = [True] * 8 + [False] * 2 + [True] * 4 + [False] * 6
    confusion = Confusion.of(gold, said)
    assert confusion == Confusion(true_yes=8, false_yes=4, true_no=6, false_no=2)
    assert confusion.accuracy == pytest.approx(14 / 20)
    assert confusion.precision == pytest.approx(8 / 12)
    assert confusion.recall == pytest.approx(8 / 10)
    assert confusion.f1 == pytest.approx(8 / 11)  # 2 * 2/3 * 4/5 / (2/3 + 4/5) = 16/15 / (22/15)
    assert confusion.yes_ratio == pytest.approx(12 / 20)


def test_an_answer_that_is_neither_is_wrong_but_no_yes() -> None:
    confusion = Confusion.of([True, True, False, False], [True, None, None, False])
    assert confusion == Confusion(true_yes=1, false_yes=0, true_no=1, false_no=0, neither_yes=1, neither_no=1)
    assert confusion.accuracy == 2 / 4
    assert confusion.precision == 1
    assert confusion.recall == 1 / 2
    assert confusion.f1 == pytest.approx(2 / 3)
    assert confusion.yes_ratio == 1 / 4


@pytest.mark.parametrize(
    ("confusion", "undefined"),
    [
        (Confusion(0, 0, 0, 0), {"accuracy", "precision", "recall", "f1", "yes_ratio"}),
        (Confusion(0, 0, 5, 5), {"precision", "f1"}),  # always no
        (Confusion(0, 5, 5, 0), {"recall", "f1"}),  # yes is never right
        (Confusion(0, 5, 0, 5), {"f1"}),  # always wrong: precision and recall are 0
        (Confusion(5, 5, 0, 0), set()),
    ],
)
def test_undefined_metrics_are_none(confusion: Confusion, undefined: set[str]) -> None:
    metrics = ("accuracy", "precision", "recall", "f1", "yes_ratio")
    assert {name for name in metrics if getattr(confusion, name) is None} == undefined


@given(answers)
def test_accuracy_is_the_share_of_equal_answers(pairs: list[tuple[bool, bool | None]]) -> None:
    gold, said = zip(*pairs, strict=True)
    confusion = Confusion.of(gold, said)
    assert confusion.total == len(pairs)
    assert confusion.accuracy == accuracy([right == given for right, given in pairs])


def test_accuracy() -> None:
    assert accuracy([True, False, True, True]) == 0.75
    assert accuracy([]) is None


def test_answers_without_questions_are_refused() -> None:
    with pytest.raises(VisionFlowError, match="1 answers do not belong to 2 questions"):
        Confusion.of([True, False], [True])
