"""Accuracy, and the five metrics of yes/no questions. What is undefined is None, never a number."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from visionflow.errors import VisionFlowError


def accuracy(right: Sequence[bool]) -> float | None:
    """The share of right answers; None of no answers."""
    return _ratio(sum(right), len(right))


@dataclass(frozen=True)
class Confusion:
    """Right and wrong yes/no answers, and POPE's five metrics of them (arXiv:2305.10355; "yes" is the positive class).

    An answer that is neither yes nor no is wrong: it counts against accuracy and, where the truth is yes, against
    recall, but not as a yes. POPE's own rule knows no such answer.

    Attributes:
        true_yes: yes, rightly.
        false_yes: yes, wrongly.
        true_no: no, rightly.
        false_no: no, wrongly.
        neither_yes: neither, where yes is right.
        neither_no: neither, where no is right.
    """

    true_yes: int
    false_yes: int
    true_no: int
    false_no: int
    neither_yes: int = 0
    neither_no: int = 0

    @classmethod
    def of(cls, gold: Sequence[bool], said: Sequence[bool | None]) -> "Confusion":
        """Of the right answers and the given ones, question by question; True is yes, None neither.

        Raises:
            VisionFlowError: there are not as many of one as of the other.
        """
        if len(gold) != len(said):
            raise VisionFlowError(f"{len(said)} answers do not belong to {len(gold)} questions: give one for each")
        pairs = Counter(zip(gold, said, strict=True))
        return cls(
            true_yes=pairs[True, True],
            false_yes=pairs[False, True],
            true_no=pairs[False, False],
            false_no=pairs[True, False],
            neither_yes=pairs[True, None],
            neither_no=pairs[False, None],
        )

    @property
    def total(self) -> int:
        """All answers."""
        return self._gold_yes + self.false_yes + self.true_no + self.neither_no

    @property
    def accuracy(self) -> float | None:
        """Right answers among all."""
        return _ratio(self.true_yes + self.true_no, self.total)

    @property
    def precision(self) -> float | None:
        """Right ones among the answers that say yes; None where none does."""
        return _ratio(self.true_yes, self.true_yes + self.false_yes)

    @property
    def recall(self) -> float | None:
        """Answers that say yes among the questions where yes is right; None where it never is."""
        return _ratio(self.true_yes, self._gold_yes)

    @property
    def f1(self) -> float | None:
        """``2 P R / (P + R)`` of precision and recall; None where either is, or both are 0."""
        if self.precision is None or self.recall is None:
            return None
        return _ratio(2 * self.precision * self.recall, self.precision + self.recall)

    @property
    def yes_ratio(self) -> float | None:
        """Answers that say yes among all."""
        return _ratio(self.true_yes + self.false_yes, self.total)

    @property
    def _gold_yes(self) -> int:
        return self.true_yes + self.false_no + self.neither_yes


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
