"""The settings of a method are the fields of its dataclass: how each is typed, written, taken from JSON and described.

Known kinds are int, float, bool, str, None, ``Literal``, tuples and unions of these, and in JSON the forms of a plan.
In text a tuple's items are joined by ``+``, None is ``none``, and a string that would be read as something else stands
in double quotes.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields
from inspect import cleandoc
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from visionflow.core.forms import Form
from visionflow.errors import VisionFlowError

BETWEEN_ITEMS = "+"
"""Between the items of a tuple: a comma ends a setting."""

_MARKS = re.compile(r'[,:+="{}\s]')
"""What a string is put in quotes for."""


@dataclass(frozen=True)
class Setting:
    """One field of a method.

    Attributes:
        name: of the field.
        kind: its type.
        default: of the field; ``dataclasses.MISSING`` where it has none.
        help: what the docstring's ``Attributes:`` say of it.
    """

    name: str
    kind: Any
    default: Any
    help: str

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values of a ``Literal``, or of the items of a tuple of them; empty for any other kind."""
        kind = get_args(self.kind)[0] if get_origin(self.kind) is tuple else self.kind
        return get_args(kind) if get_origin(kind) is Literal else ()

    def read(self, text: str) -> Any:
        """The value that is typed as `text`.

        Raises:
            VisionFlowError: it is none of this kind.
        """
        try:
            return _read(self.kind, text.strip())
        except ValueError:
            raise VisionFlowError(f"{self.name} must be {_told(self.kind)}, not {text.strip()!r}") from None

    def take(self, value: Any) -> Any:
        """The value that stands in JSON, or in Python, as `value`.

        Raises:
            VisionFlowError: it is none of this kind.
        """
        try:
            return _take(self.kind, value)
        except ValueError:
            raise VisionFlowError(f"{self.name} must be {_told(self.kind)}, not {value!r}") from None


def settings_of(method: type[Any]) -> dict[str, Setting]:
    """The fields of a method's class by name, in their order."""
    try:
        kinds = get_type_hints(method)
    except NameError:  # a type that is only known to type checkers
        kinds = {}
    told = dict(_attributes(method.__doc__ or ""))
    return {
        each.name: Setting(each.name, kinds.get(each.name, Any), _default(each), told.get(each.name, ""))
        for each in fields(method)
        if each.init
    }


def written(value: Any) -> str:
    """The text from which `Setting.read` makes the value again."""
    if isinstance(value, tuple):
        return BETWEEN_ITEMS.join(map(written, value))
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        plain = value and not _MARKS.search(value) and isinstance(_read(Any, value), str)
        return value if plain else '"' + json.dumps(value)[1:-1].replace(r"\"", r"\u0022") + '"'  # split counts quotes
    return repr(value)


def plain(name: str, value: Any) -> Any:
    """The same in JSON's types, from which `Setting.take` makes the value again.

    Raises:
        VisionFlowError: it has none.
    """
    if isinstance(value, tuple):
        return [plain(name, each) for each in value]
    if isinstance(value, Form):
        return value.to_dict()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise VisionFlowError(f"{name} is a {type(value).__name__}, which has no place in JSON")


def split(text: str, marks: str) -> list[str]:
    """The parts of a text between any of the `marks`, where these are not in quotes."""
    return re.split(rf'[{re.escape(marks)}](?=(?:[^"]*"[^"]*")*[^"]*$)', text)


def _default(field: Any) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _attributes(doc: str) -> Iterator[tuple[str, str]]:
    """Names and descriptions of the section ``Attributes:``; several names may share one."""
    section = re.search(r"^Attributes:\n((?:(?: .*)?\n)*)", cleandoc(doc) + "\n", re.M)
    for names, text in re.findall(r"^ {4}(\w[\w, ]*):((?:.*\n)(?: {5,}.*\n)*)", section[1] if section else "", re.M):
        for name in names.split(","):
            yield name.strip(), " ".join(text.replace("`", "").split())


def _read(kind: Any, text: str) -> Any:
    if kind is Any:
        kind = int | float | bool | None | str
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _first(_read, sorted(parts, key=lambda each: each is not NoneType), text)
    if origin is Literal:
        return _one(choice for choice in parts if text in (choice, written(choice)))
    if origin is tuple:
        items = split(text, BETWEEN_ITEMS) if text else []
        if not all(items) or any(len(split(item, ",")) > 1 for item in items):
            raise ValueError
        return tuple(_read(each, item) for each, item in zip(_kinds(parts, len(items)), items, strict=True))
    if kind in (NoneType, bool):
        return _one(value for value in (None, True, False) if _is(kind, value) and written(value) == text.lower())
    if kind is int and re.fullmatch("[-+]?[0-9]+", text):
        return int(text)
    if kind is float and math.isfinite(number := float(text)):
        return number
    if kind is str:
        return json.loads(text) if text[:1] == '"' else text
    raise ValueError


def _take(kind: Any, value: Any) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _first(_take, parts, value)
    if origin is Literal:
        return _one(choice for choice in parts if choice == value and type(choice) is type(value))
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_take(each, item) for each, item in zip(_kinds(parts, len(value)), value, strict=True))
    if isinstance(kind, type) and issubclass(kind, Form) and isinstance(value, dict):
        return kind.from_dict(value)
    if kind is Any or _is(kind, value):
        return value
    raise ValueError


def _is(kind: Any, value: Any) -> bool:
    """Whether a value is of a plain kind; a whole number is a number, too, but a truth value is none."""
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool)
    return isinstance(kind, type) and isinstance(value, kind)


def _first(make: Callable[[Any, Any], Any], kinds: Iterable[Any], value: Any) -> Any:
    """What the first of the kinds that can makes of it."""
    for kind in kinds:
        with suppress(ValueError):
            return make(kind, value)
    raise ValueError


def _one(found: Iterator[Any]) -> Any:
    for value in found:
        return value
    raise ValueError


def _kinds(parts: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    """Of each of the items of a tuple."""
    return parts[:1] * count if parts[1:] == (...,) else parts


def _told(kind: Any) -> str:
    """The kind, for people."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(map(_told, parts))
    if origin is Literal:
        return f"one of {', '.join(map(written, parts))}"
    if origin is tuple:
        return f"{_told(parts[0])}, joined by {BETWEEN_ITEMS}" if parts[1:] == (...,) else " + ".join(map(_told, parts))
    words = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text", NoneType: "none"}
    return words.get(kind, f"a {getattr(kind, '__name__', kind)}")
