"""Methods on the command line: which options belong to which, and what they are where they are not given."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

from visionflow.errors import VisionFlowError

if TYPE_CHECKING:
    from visionflow.methods import Method

Value = TypeVar("Value")

METHOD_OPTIONS: dict[str, tuple[str, ...]] = {
    "himap": ("k1", "r1", "k2", "r2", "deep_criterion"),
    "fastv": ("k", "r"),
    "vtw": ("k",),
    "visipruner": (
        "shallow_layers",
        "layer_threshold",
        "token_threshold",
        "token_scale",
        "exit_threshold",
        "exit_patience",
        "at_most",
        "fallback_layer",
    ),
    "pyramiddrop": ("r",),
    "divprune": ("r", "k"),
    "random": ("k", "r", "seed"),
    "grid": ("r", "k"),
    "unlike-mean": ("r", "k"),
}


def flag(option: str) -> str:
    """The option as it is typed."""
    return "--" + option.replace("_", "-")


def own_options(method: str, given: Mapping[str, Value], options_of: Mapping[str, Iterable[str]]) -> dict[str, Value]:
    """The given options that are options of `method`; others in `given` may belong to no method at all.

    Raises:
        VisionFlowError: there is no such method, or an option of another method was given.
    """
    if method not in options_of:
        raise VisionFlowError(f"unknown method {method!r}: choose one of {', '.join(options_of)}")
    own = list(options_of[method])
    of_others = {name for options in options_of.values() for name in options} - set(own)
    for name in sorted(of_others & given.keys()):
        takes = ", ".join(map(flag, own)) or "none"
        raise VisionFlowError(f"{flag(name)} is not an option of method {method}, whose options are: {takes}")
    return {name: value for name, value in given.items() if name in own}


def chosen_method(method: str, given: Mapping[str, object], num_layers: int, model: str = "") -> "Method":
    """The method with the options given, and with defaults that suit the `model` of `num_layers`.

    Raises:
        VisionFlowError: no such method, an option of another one, a value out of range, or a layer beyond the depth.
    """
    from visionflow.methods import parse

    return parse(method).having(own_options(method, given, METHOD_OPTIONS)).of(num_layers, model)
