"""Forms: the small frozen dataclasses that a plan is made of. Equal, hashable, picklable, into JSON and back."""

from dataclasses import fields
from typing import Any, ClassVar, Self

from visionflow.errors import VisionFlowError

_PLAIN = (bool, int, float, str, type(None))


class Form:
    """A part of a plan; every subclass is a frozen dataclass, known by its name from its definition on."""

    known: ClassVar[dict[str, type["Form"]]] = {}

    def __init_subclass__(cls) -> None:
        """Enter the class under its name."""
        Form.known[cls.__name__] = cls

    def to_dict(self) -> dict[str, Any]:
        """Its name and fields, of JSON's types alone: ``{"form": "Ratio", "r": 0.5}``.

        Raises:
            VisionFlowError: a field holds something else, such as a function, which cannot travel.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return {"form": type(self).__name__, **{name: _packed(value, self, name) for name, value in values.items()}}

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Self:
        """The form that `to_dict` gave.

        Raises:
            VisionFlowError: it names no known form, one of another kind, or fields that the form does not have.
        """
        form = _unpacked(given)
        if not isinstance(form, cls):
            raise VisionFlowError(f"{given!r} is no {cls.__name__}")
        return form


def _packed(value: Any, owner: Form, name: str) -> Any:
    if isinstance(value, Form):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_packed(part, owner, name) for part in value]
    if isinstance(value, _PLAIN):
        return value
    raise VisionFlowError(
        f"{name} of {type(owner).__name__} is {value!r}, which cannot travel: give a form of visionflow.core instead"
    )


def _unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_unpacked, value))
    if not isinstance(value, dict):
        return value
    fields_of = {name: _unpacked(part) for name, part in value.items() if name != "form"}
    name = value.get("form")
    if name not in Form.known:
        raise VisionFlowError(
            f"unknown form {name!r}: one of {', '.join(sorted(Form.known))}, or import the package that defines it"
        )
    try:
        return Form.known[name](**fields_of)
    except TypeError as error:
        raise VisionFlowError(f"{name} does not fit {value!r}: {error}") from None
