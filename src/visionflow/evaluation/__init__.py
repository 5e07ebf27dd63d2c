"""Scoring: what answers say, how many are right, and how sure that is. No model, no files."""

from visionflow.evaluation.answers import YesNoConvention, matches, normalised, yes_no
from visionflow.evaluation.letters import option_letter
from visionflow.evaluation.words import words

__all__ = ["YesNoConvention", "matches", "normalised", "option_letter", "words", "yes_no"]
