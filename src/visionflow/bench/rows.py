"""The rows of a bench: methods by name, with the settings of their papers or those typed after the name.

A new method needs no change here where `visionflow.methods.defaults` knows its settings.
"""

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from math import isfinite
from typing import Any

from visionflow.errors import UnsupportedUsageError, VisionFlowError
from visionflow.methods import METHODS, Method
from visionflow.methods.defaults import default_options

DENSE = "none"
ORDER = ("random", "himap", "fastv", "vtw", "visipruner")


@dataclass(frozen=True)
class Row:
    """One way of running a model.

    Attributes:
        name: of the method, or as it was typed where several rows are of one method.
        method: None for the unpruned model.
    """

    name: str
    method: Method | None

    @property
    def settings(self) -> str:
        """The call that makes the method."""
        return str(self.method) if self.method else "no pruning"


def bench_rows(named: Sequence[str], num_layers: int) -> list[Row]:
    """The unpruned model first, then each of `named`: ``himap``, or with settings ``fastv:k=3:r=0.75``.

    Raises:
        VisionFlowError: there is no such method or setting, a value is out of range, or the model is too shallow.
    """
    typed = [each for each in dict.fromkeys(named) if each != DENSE]
    methods = [each.partition(":")[0] for each in typed]
    names = [of if methods.count(of) == 1 else each for each, of in zip(typed, methods, strict=True)]
    return [Row(DENSE, None), *(Row(name, _method(each, num_layers)) for name, each in zip(names, typed, strict=True))]


def rows_that_fit(named: Sequence[str], num_layers: int) -> tuple[list[Row], list[str]]:
    """The same, without the methods that a shallow model has no room for; of these, a sentence each."""
    fitting, left_out = [], []
    for name in named:
        try:
            bench_rows((name,), num_layers)
            fitting.append(name)
        except UnsupportedUsageError as error:
            left_out.append(f"{name} is left out: {error}")
    return bench_rows(fitting, num_layers), left_out


def all_methods() -> list[str]:
    """The names of the rows that are shown where none are asked for."""
    return [name for name in ORDER if name in METHODS]


def _method(typed: str, num_layers: int) -> Method:
    name, *settings = typed.split(":")
    if name not in METHODS:
        raise VisionFlowError(f"unknown method {name!r}: choose of {', '.join((DENSE, *METHODS))}")
    options = _defaults(name, num_layers) | dict(_setting(each, METHODS[name]) for each in settings)
    missing = [each.name for each in _fields(METHODS[name]) if each.default is MISSING and each.name not in options]
    if missing:
        raise VisionFlowError(f"method {name} needs settings: {name}:" + ":".join(f"{each}=..." for each in missing))
    method = METHODS[name](**options)
    method.plan().check_depth(num_layers)
    return method


def _defaults(name: str, num_layers: int) -> dict[str, Any]:
    """The papers' settings; what they say of 32 layers is put at a like depth in other models."""
    if name == "vtw":
        return {"k": 16 if 16 < num_layers <= 32 else max(1, num_layers // 2)}
    if name == "visipruner":
        # Random weights decide nothing, so the means of the paper are forced: it fires at layer 14 of 32, keeps ten
        # tokens, and withdraws them nine layers later.
        first = min(max(1, round(num_layers * 6 / 32)), num_layers - 2)
        return {
            "shallow_layers": first,
            "layer_threshold": -1.0,
            "fallback_layer": min(max(first, round(num_layers * 14 / 32)), num_layers - 2),
            "at_least": 10,
            "at_most": 10,
            "exit_threshold": -1.0,
            "exit_patience": max(1, round(num_layers * 9 / 32)),
        }
    return default_options(name, num_layers)


def _setting(typed: str, method: type[Method]) -> tuple[str, Any]:
    name, equals, value = typed.partition("=")
    known = [each.name for each in _fields(method)]
    if name not in known or not equals:
        raise VisionFlowError(f"{typed!r} is no setting of {method.name}: choose of {', '.join(known)}, as in k=2")
    return name, _value(value)


def _value(typed: str) -> Any:
    if typed in ("True", "False", "None"):
        return {"True": True, "False": False, "None": None}[typed]
    for number in (int, float):
        try:
            value = number(typed)
        except ValueError:
            continue
        if not isfinite(value):
            raise VisionFlowError(f"a setting is a finite number, not {typed}")
        return value
    return typed


def _fields(method: type[Method]) -> Any:
    return fields(method)  # type: ignore[arg-type]
