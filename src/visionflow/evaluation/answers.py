"""What an answer says: yes or no, or a short answer that equals the right one.

Letters of multiple-choice answers are read in `visionflow.evaluation.letters`.
"""

import re
from collections.abc import Iterable
from typing import Literal, get_args

from visionflow.errors import VisionFlowError
from visionflow.evaluation.words import words

YesNoConvention = Literal["strict", "pope"]

_NEGATIONS = frozenset(("no", "not", "nor", "neither", "cannot", "none", "nothing"))
_CONTRACTION = re.compile(r"n['’]t\b", re.IGNORECASE)

# An article stands before a word: a lone "a", the "A" of "A." and that of "A 3" are letters.
_ARTICLE = re.compile(r"\b(?:an?\s+(?=[^\W\d_])|the\s+(?=\w))", re.IGNORECASE)
_SPELLED = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_NUMBERS = {name: str(number) for number, name in enumerate(f"{_SPELLED} seventeen eighteen nineteen twenty".split())}
_NUMBERS["none"] = "0"


def yes_no(answer: str, convention: YesNoConvention = "strict") -> bool | None:
    """Whether an answer says yes, under one of two conventions; both read the first sentence only.

    ``pope``: the rule of POPE's released evaluation script (arXiv:2305.10355), to the letter. The text up to the
    first full stop, commas removed, is cut at single spaces; ``No``, ``not`` or ``no`` among the pieces is a no,
    everything else a yes: an empty answer, ``NO``, ``No!`` and ``There isn't`` too. It is never None.

    ``strict``: a yes needs the word "yes", a no the word "no", "not" or another negation, in any case. A first word
    that is yes or no decides ("Yes, but not a red one"), unless the other one follows; otherwise a yes beside a
    negation, and a sentence with neither ("There is a cat"), are None.

    Raises:
        VisionFlowError: there is no such convention.
    """
    if convention not in get_args(YesNoConvention):
        raise VisionFlowError(
            f"unknown convention {convention!r}: choose one of {', '.join(get_args(YesNoConvention))}"
        )
    sentence = answer.split(".")[0]
    if convention == "pope":
        return {"No", "not", "no"}.isdisjoint(sentence.replace(",", "").split(" "))
    return _strictly(sentence)


def _strictly(sentence: str) -> bool | None:
    """The reading of one sentence under the ``strict`` convention."""
    said = words(_CONTRACTION.sub(" not", sentence))
    yes, no = "yes" in said, "no" in said
    if yes and no:
        return None
    if said[:1] in (["yes"], ["no"]):
        return yes
    negated = not _NEGATIONS.isdisjoint(said)
    if yes == negated:  # both, or neither
        return None
    return yes


def normalised(text: str) -> str:
    """A short answer without what does not change it: case, punctuation, articles, and words for 0 to 20.

    "none" is 0, as in VQA's evaluation (arXiv:1505.00468). Nothing else is equated: no plurals, no synonyms.
    """
    return " ".join(_NUMBERS.get(word, word) for word in words(_ARTICLE.sub("", text)))


def matches(answer: str, accepted: Iterable[str]) -> bool:
    """Whether a short answer equals one of the `accepted` ones, all normalised."""
    return normalised(answer) in {normalised(right) for right in accepted}
