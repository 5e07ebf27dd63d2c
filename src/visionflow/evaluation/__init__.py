"""Scoring: what answers say, how many are right, and how sure that is. No model, no files."""

from visionflow.evaluation.answers import YesNoConvention, matches, normalised, option_letter, words, yes_no
from visionflow.evaluation.captions import cider
from visionflow.evaluation.intervals import Interval, McNemar, bootstrap_difference, bootstrap_mean, mcnemar, wilson
from visionflow.evaluation.scores import Confusion, accuracy

__all__ = [
    "Confusion",
    "Interval",
    "McNemar",
    "YesNoConvention",
    "accuracy",
    "bootstrap_difference",
    "bootstrap_mean",
    "cider",
    "matches",
    "mcnemar",
    "normalised",
    "option_letter",
    "wilson",
    "words",
    "yes_no",
]
