"""Which option a multiple-choice answer names, on the forms that models really write."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from string import ascii_uppercase

from visionflow.errors import VisionFlowError
from visionflow.evaluation.answers import normalised

# A letter that is no part of a word. Before a word of two letters or more "A" is the article and "I" the pronoun,
# unless that word cannot follow them so.
_ARTICLE = r"[AaI] +(?!(?:is|was|because|since|as|and|or)\b)[A-Za-z]{2}"
_LETTER = rf"(?<!\w)(?<!\w['’])(?!{_ARTICLE})([A-Za-z])(?!\w|['’-]\w)"
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
_NEGATION = re.compile(r"\b(?:not|nor|neither|except|wrong|incorrect)\b|n['’]t\b", re.I)


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
    if _NEGATION.search(answer):
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
