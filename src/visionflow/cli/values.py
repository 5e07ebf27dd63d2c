"""How what is typed after an option is read: numbers, ranges, lists and choices, refused before anything is loaded.

Each function here makes a parser for `typer.Option(parser=...)`: it gives the value, or a sentence that says what would
have been one. Typer hands over defaults, too; those are values already.
"""

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

Parser = Callable[[Any], Any]

MOST_LISTED = 1000
"""Numbers in a list, at most: a range that is longer is a slip of the hand."""


def whole(least: int, most: int) -> Parser:
    """A whole number from `least` to `most`, in digits."""

    def read(typed: str) -> int:
        value = _digits(typed)
        if value is None or not least <= value <= most:
            raise typer.BadParameter(f"it must be a whole number from {least} to {most}, not {_short(typed)}")
        return value

    return _of_text(read)


def number(least: float, most: float, *, below: bool = False) -> Parser:
    """A number from `least` to `most`, or `below` it; never NaN or infinite."""

    def read(typed: str) -> float:
        try:
            value = float(typed)
        except ValueError:
            value = math.nan
        if not (least <= value <= most) or (below and value == most):
            limits = f"of at least {least:g} and below {most:g}" if below else f"from {least:g} to {most:g}"
            raise typer.BadParameter(f"it must be a number {limits}, not {_short(typed)}")
        return value

    return _of_text(read)


def numbers(least: int, most: int) -> Parser:
    """Whole numbers from `least` to `most` in a list with ranges, ``1,2,4`` or ``0-4,7``: ascending, each once."""

    def read(typed: str) -> tuple[int, ...]:
        found = {value for part in typed.split(",") for value in within(part.strip(), typed)}
        return tuple(sorted(found))

    def within(part: str, typed: str) -> Iterator[int]:
        first, dash, last = (each.strip() for each in part.partition("-"))
        low = _digits(first)
        high = _digits(last) if dash else low
        if low is None or high is None:
            raise typer.BadParameter(f"it is a list of whole numbers like 1,2,4 or 0-4,7, not {_short(typed)}")
        if high < low:
            raise typer.BadParameter(f"{part} runs backwards: write {high}-{low}")
        if low < least or high > most:
            raise typer.BadParameter(f"its numbers must be from {least} to {most}, not {_short(part)}")
        if high - low >= MOST_LISTED:
            raise typer.BadParameter(f"{part} are more than {MOST_LISTED} numbers: name them one by one")
        yield from range(low, high + 1)

    return _of_text(read)


def shares(typed: Any) -> Any:
    """Shares above 0 and below 1 in a list, ``0.5,0.33``: in their order, each once."""

    def read(typed: str) -> tuple[float, ...]:
        found = []
        for part in typed.split(","):
            try:
                value = float(part)
            except ValueError:
                value = math.nan
            if not 0 < value < 1:
                raise typer.BadParameter(
                    f"it is a list of shares above 0 and below 1 like 0.5,0.33, not {_short(typed)}"
                )
            found.append(value)
        return tuple(dict.fromkeys(found))

    return _of_text(read)(typed)


def names(typed: Any) -> Any:
    """The names in ``A,B``: at least one, in their order, each once."""

    def read(typed: str) -> tuple[str, ...]:
        found = [name.strip() for name in typed.split(",")]
        if not all(found):
            raise typer.BadParameter(f"it is a list of names like A,B, and one is missing in {_short(typed)}")
        return tuple(dict.fromkeys(found))

    return _of_text(read)(typed)


def methods(typed: Any) -> Any:
    """The methods in ``A,B:k=3,r=0.5``, each with its settings: at least one, in their order, each once."""

    def read(typed: str) -> tuple[str, ...]:
        from visionflow.methods.spec import split_list

        found = split_list(typed)
        if not all(found):
            raise typer.BadParameter(f"it is a list of methods like A,B:k=3, and one is missing in {_short(typed)}")
        return tuple(dict.fromkeys(found))

    return _of_text(read)(typed)


def one_of(what: str, *choices: str, also: tuple[str, ...] = ()) -> Parser:
    """One of the `choices`, or of what is understood `also`; `what` they are is said where it is another one."""

    def read(typed: str) -> str:
        if typed not in (*choices, *also):
            raise typer.BadParameter(f"unknown {what} {_short(typed)}: choose one of {', '.join(choices)}")
        return typed

    return _of_text(read)


def some_of(what: str, *choices: str) -> Parser:
    """Some of the `choices`, as ``A,B``."""
    known = one_of(what, *choices)

    def read(typed: str) -> tuple[str, ...]:
        return tuple(known(name) for name in names(typed))

    return _of_text(read)


def word(typed: Any) -> Any:
    """Any text but none: an empty one is a shell variable that was not set, and as a path the folder here."""
    if isinstance(typed, str) and not typed.strip():
        raise typer.BadParameter("it is empty: give a value, or leave the option out")
    return typed


def place(typed: Any) -> Any:
    """The path of a file or folder."""
    return Path(word(typed)) if isinstance(typed, str) else typed


def _of_text(read: Callable[[str], Any]) -> Parser:
    """The same for values that need no reading, for defaults are none that was typed."""
    return lambda value: read(value.strip()) if isinstance(value, str) else value


def _digits(typed: str) -> int | None:
    """The whole number in at most 18 plain digits; more of them are beyond every limit."""
    return int(typed) if re.fullmatch(r"[-+]?[0-9]{1,18}", typed) else None


def _short(typed: str) -> str:
    return repr(typed if len(typed) <= 60 else typed[:57] + "...")
