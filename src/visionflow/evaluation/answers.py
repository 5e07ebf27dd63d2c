"""What an answer says: yes or no, an option's letter, a short answer that equals the right one, the things it names."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from string import ascii_uppercase
from typing import Literal, get_args

from visionflow.errors import VisionFlowError
from visionflow.scenes.world import COLOURS, SHAPES

YesNoConvention = Literal["strict", "pope"]

_WORD = re.compile(r"\d+(?:\.\d+)+|[^\W_]+")
_APOSTROPHE = re.compile(r"['’]")

_NEGATIONS = frozenset(("no", "not", "nor", "neither", "cannot", "none", "nothing"))
_CONTRACTION = re.compile(r"n['’]t\b", re.IGNORECASE)

# An article stands before a word: a lone "a", the "A" of "A." and that of "A 3" are letters.
_ARTICLE = re.compile(r"\b(?:an?\s+(?=[^\W\d_])|the\s+(?=\w))", re.IGNORECASE)
_SPELLED = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_NUMBERS = {name: number for number, name in enumerate(f"{_SPELLED} seventeen eighteen nineteen twenty".split())}
_NUMBERS["none"] = 0

# A letter that is no part of a word. Before a word of two letters or more "A" is the article and "I" the pronoun,
# unless that word cannot follow them so.
_NO_LETTER = r"[AaI] +(?!(?:is|was|because|since|as|and|or)\b)[A-Za-z]{2}"
_LETTER = rf"(?<!\w)(?<!\w['’])(?!{_NO_LETTER})([A-Za-z])(?!\w|['’-]\w)"
_BRACKETS = r"[\s\"'“‘(\[{*_$`]*"
_WHOLE = re.compile(rf"\W*{_LETTER}\W*")
_LEADING = re.compile(rf"{_BRACKETS}{_LETTER}(?=[.,:;)\]}}*_\"'”’`]|\s+[-–—]|\s*\n)")
_NEXT = re.compile(rf"\W*(?:(?:and|or|maybe|possibly)\b\W*)*{_LETTER}", re.IGNORECASE)
_CAPITAL_OR_BRACKETED = re.compile(rf"{_LETTER}(?:(?<=[A-Z])|(?<=[(\[{{]\w)(?=[)\]}}]))")

# "The answer is ..." speaks louder than "option ..."; each may lead to a letter or to an option's text.
_CUES = (
    re.compile(r"\banswer\b(?: *(?:is|was|would be|must be|should be))?[\s:=*_\"'(-]*(?:option|choice|letter)?", re.I),
    re.compile(r"\b(?:option|choice|letter)\b(?: *(?:is|was))?", re.I),
)
_NOT_THIS = re.compile(r"\b(?:not|nor|neither|except|wrong|incorrect)\b|n['’]t\b", re.I)


def words(text: str) -> list[str]:
    """`text` in lower case, cut at everything that is not a letter or a digit.

    Apostrophes vanish (``dog's`` is ``dogs``), hyphens separate, a decimal number stays whole, and full-width letters
    are those of ASCII (Unicode's NFKC form).
    """
    return _WORD.findall(_APOSTROPHE.sub("", unicodedata.normalize("NFKC", text)).lower())


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
    return " ".join(str(_NUMBERS.get(word, word)) for word in words(_ARTICLE.sub("", text)))


def matches(answer: str, accepted: Iterable[str]) -> bool:
    """Whether a short answer equals one of the `accepted` ones, all normalised."""
    return normalised(answer) in {normalised(right) for right in accepted}


def option_letter(answer: str, options: Sequence[str]) -> str | None:
    """The letter that `answer` chooses among `options` (the texts of A, B, C, ...), None for none or several.

    The first of these that the answer fits decides:

    1. nothing but a letter, in either case, bracketed, emphasised or dotted: ``B``, ``b.``, ``(B)``, ``**B**``;
    2. exactly one option's text, in place of its letter, both as `normalised`: ``the red circle``;
    3. a letter at the start, set off by a mark: ``B. red``, ``B) because A is too small``. The letter counts, whatever
       text follows, because the letter is what was asked for; another letter right after it makes several;
    4. a letter, or an option's text, after "answer" or, where that says nothing, after "option", "choice" or "letter":
       ``The answer is B``, ``Option A is wrong; the answer is B``;
    5. the only capital or bracketed letter of a sentence without a negation: ``I think it is B``, ``B red circle``.

    "A" before a word is the article: ``A cat`` is the option whose text is "cat" or "a cat", or none, never the
    letter A ("A is", "A because" and the like are the letter). A letter beyond the last option is None in rules 1, 3
    and 4, and no letter at all in rule 5. A sentence that merely mentions an option's text is not read.

    Raises:
        VisionFlowError: there are no options, or more than letters.
    """
    if not 1 <= len(options) <= len(ascii_uppercase):
        raise VisionFlowError(f"a question has 1 to {len(ascii_uppercase)} lettered options, not {len(options)}")
    letters = ascii_uppercase[: len(options)]
    answer = unicodedata.normalize("NFKC", answer).strip()
    if whole := _WHOLE.fullmatch(answer):
        return _within(letters, {whole[1].upper()})
    if named := _named(answer, letters, options):
        return named
    if leading := _LEADING.match(answer):
        return _within(letters, _listed(leading, letters, options))
    for cue in _CUES:
        if chosen := set(_after(cue, answer, letters, options)):
            return _within(letters, chosen)
    if _NOT_THIS.search(answer):
        return None
    mentioned = {match[1].upper() for match in _CAPITAL_OR_BRACKETED.finditer(answer)}
    return _within(letters, mentioned & set(letters))


def _within(letters: str, chosen: set[str]) -> str | None:
    """The one letter chosen, if it is one of `letters`."""
    return min(chosen) if len(chosen) == 1 and chosen <= set(letters) else None


def _named(text: str, letters: str, options: Sequence[str]) -> str | None:
    """The letter of the one option whose text this is."""
    said = normalised(text)
    named = {letter for letter, option in zip(letters, options, strict=True) if said and normalised(option) == said}
    return _within(letters, named)


def _listed(first: re.Match[str], letters: str, options: Sequence[str]) -> set[str]:
    """The letter found, and the one listed right after it, if any: ``A, B``, ``A or B``.

    In ``B. C`` the C is no second choice where C is the text of option B.
    """
    letter, rest = first[1].upper(), first.string[first.end() :]
    following = _NEXT.match(rest)
    if following is None or (letter in letters and _named(rest, letters, options) == letter):
        return {letter}
    return {letter, following[1].upper()}


def _after(cue: re.Pattern[str], answer: str, letters: str, options: Sequence[str]) -> Iterator[str]:
    """What follows each cue: a letter, with the one listed after it, or else an option's text."""
    for found in cue.finditer(answer):
        rest = answer[found.end() :]
        if match := re.match(rf"\W*{_LETTER}", rest):
            yield from _listed(match, letters, options)
        elif named := _named(rest, letters, options):
            yield named


@dataclass(frozen=True)
class Naming:
    """The objects that a caption names against those that are there, as multisets.

    Attributes:
        common: named and there, each as often as it is both.
        named: all that the caption names, repeats counted.
        there: all that is there.
    """

    common: int
    named: int
    there: int

    @property
    def every(self) -> bool:
        """Each object is named at least as often as it is there, whatever else is: a recall of 1."""
        return self.common == self.there

    @property
    def exact(self) -> bool:
        """Each object is named as often as it is there, and nothing else."""
        return self.common == self.there == self.named

    @property
    def f1(self) -> float:
        """``2 P R / (P + R)`` of precision common / named and recall common / there; 0 where nothing is common."""
        return 2 * self.common / (self.named + self.there) if self.common else 0.0


def naming(caption: str, objects: Iterable[str]) -> Naming:
    """What `caption` names of the `objects` (``red circle``), and besides of what the generated world knows.

    A number before the plural counts (``two red circles``, ``2 red circles``), one before the singular only numbers the
    lines of a list.
    """
    said = " ".join(words(caption))
    there = Counter(" ".join(words(name)) for name in objects)
    named = Counter({name: _mentions(said, name) for name in {*there, *_world()}})
    return Naming((named & there).total(), named.total(), there.total())


@cache
def _world() -> frozenset[str]:
    """Every object that there can be, as captions call it."""
    return frozenset(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)


def _mentions(said: str, name: str) -> int:
    if name not in said:
        return 0
    found = re.finditer(rf"\b(?:(\w+) )?{re.escape(name)}(e?s)?\b", said)
    return sum(_number(match[1]) if match[2] else 1 for match in found)


def _number(word: str | None) -> int:
    """1 of what is no number."""
    if word is not None and word.isdecimal():
        return int(word)
    return _NUMBERS.get(word or "", 1)
