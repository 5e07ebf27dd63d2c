"""The prompts of the HiMAP paper's appendix E, and of A-OKVQA, which lmms-eval has no task for.

Appendix E prints the options' place but not their form: here ``A. red B. blue``. Its caption prompt is lmms-eval's own.
"""

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from visionflow.scenes.phrases import CHOICE, SCIENCE, YES_NO

Document = Mapping[str, Any]


def pope(document: Document) -> str:
    """POPE as appendix E asks it."""
    return YES_NO.format(question=document["question"].strip())


def science(document: Document) -> str:
    """ScienceQA as appendix E prints it: without the hint, which lmms-eval and the released code put first."""
    return SCIENCE.format(question=document["question"], options=_lettered(document["choices"], " "))


def aokvqa(document: Document) -> str:
    """A-OKVQA as appendix E asks it."""
    return CHOICE.format(question=document["question"], options=_lettered(document["choices"], " "))


def aokvqa_direct(document: Document) -> str:
    """A-OKVQA in the form in which lmms-eval asks ScienceQA."""
    options = _lettered(document["choices"], "\n")
    return f"{document['question']}\n{options}\nAnswer with the option's letter from the given choices directly."


def mmvet_question(document: Document) -> str:
    """MM-Vet's question alone, where lmms-eval asks for step-by-step reasoning first; appendix E has no prompt."""
    return str(document["question"])


def _lettered(options: Sequence[str], between: str) -> str:
    return between.join(f"{letter}. {option}" for letter, option in zip(ascii_uppercase, options, strict=False))
