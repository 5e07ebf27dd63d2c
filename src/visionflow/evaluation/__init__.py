"""Scoring: what answers say, how many are right, and how sure that is. No model, no files."""

from visionflow.evaluation.answers import YesNoConvention, matches, normalised, yes_no
from visionflow.evaluation.captions import cider
from visionflow.evaluation.letters import option_letter
from visionflow.evaluation.scores import Confusion, accuracy
from visionflow.evaluation.words import words

__all__ = [
    "Confusion",
    "YesNoConvention",
    "accuracy",
    "cider",
    "matches",
    "normalised",
    "option_letter",
    "words",
    "yes_no",
]
