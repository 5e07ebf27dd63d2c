"""Prompts answered dense or pruned, and what each of them took: one room for `ask`, `eval` and lmms-eval."""

from visionflow.answering.answers import Answers, answers, enough_memory, greedy, scope_of
from visionflow.answering.comparison import Comparison, compare
from visionflow.answering.facts import CONVENTIONS, Facts, facts_of

__all__ = [
    "CONVENTIONS",
    "Answers",
    "Comparison",
    "Facts",
    "answers",
    "compare",
    "enough_memory",
    "facts_of",
    "greedy",
    "scope_of",
]
