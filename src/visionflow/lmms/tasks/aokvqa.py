"""A-OKVQA, multiple choice: columns as in HuggingFaceM4/A-OKVQA."""

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from visionflow.evaluation.answers import option_letter

Document = Mapping[str, Any]


def pictures(document: Document) -> list[Any]:
    """The one picture of a question."""
    return [document["image"].convert("RGB")]


def target(document: Document) -> str:
    """The letter of the right option."""
    return ascii_uppercase[document["correct_choice_idx"]]


def process_results(document: Document, results: Sequence[str]) -> dict[str, float]:
    """1 where the answer names the right option, by its letter or text, see `option_letter`; else 0."""
    chosen = option_letter(results[0], document["choices"])
    return {"exact_match": float(chosen == target(document))}
