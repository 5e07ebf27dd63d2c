"""A method from its name and settings, as they stand in lmms-eval's ``--model_args``."""

from collections.abc import Mapping
from dataclasses import fields

from visionflow.errors import VisionFlowError
from visionflow.methods import METHODS, Method
from visionflow.methods.defaults import default_options

DENSE = "dense"
"""The name of no method at all."""

SEVERAL = "+"
"""Between values of one setting: a comma would end it."""


def method_of(name: str, settings: Mapping[str, object], num_layers: int, model: str = "") -> Method | None:
    """The method called `name` with `settings` in place of what suits the `model` of `num_layers`; None for dense.

    Raises:
        VisionFlowError: there is no such method or setting, a value is out of range, or a layer beyond the depth.
    """
    if name != DENSE and name not in METHODS:
        raise VisionFlowError(f"unknown method {name!r}: choose one of {DENSE}, {', '.join(METHODS)}")
    known = {} if name == DENSE else {field.name: field for field in fields(METHODS[name])}  # type: ignore[arg-type]
    for setting in settings:
        if setting not in known:
            raise VisionFlowError(
                f"{setting} is not a setting of method {name}, whose settings are: {', '.join(known) or 'none'}"
            )
    if name == DENSE:
        return None
    given = {
        setting: tuple(str(value).split(SEVERAL)) if isinstance(known[setting].default, tuple) else value
        for setting, value in settings.items()
    }
    chosen = METHODS[name](**default_options(name, num_layers, model) | given)
    chosen.plan().check_depth(num_layers)
    return chosen


def settings_of(method: Method | None) -> dict[str, object]:
    """The settings from which `method_of` makes this method again, in the form that ``--model_args`` takes."""
    values = {} if method is None else {field.name: getattr(method, field.name) for field in fields(method)}  # type: ignore[arg-type]
    return {
        name: SEVERAL.join(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value is not None
    }
