"""--method, and beside it an option for each field of each method; looked up when a command is called.

The classes of the methods load torch, for which the list of commands does not wait.
"""

from collections.abc import Iterable
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

from visionflow.cli.options import flag, option
from visionflow.errors import VisionFlowError

if TYPE_CHECKING:
    from visionflow.methods import Spec

METHODS_HERE = "{methods}"
"""Stands in a help text for the names of all methods."""


class MethodCommand(TyperCommand):
    """A command that takes methods: their names stand in its help, and after --method come their fields' options."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its own parameters, those of the methods, and --help."""
        own: list[Any] = list(super().get_params(ctx))
        for each in own:
            if METHODS_HERE in (getattr(each, "help", None) or ""):
                from visionflow.methods import METHODS

                each.help = each.help.replace(METHODS_HERE, ", ".join(METHODS.names()))
        names = [each.name for each in own]
        if "method" in names:
            after = names.index("method") + 1
            own[after:after] = [each for each in self._fields if each.name not in names]
        return own

    @cached_property
    def _fields(self) -> list[Any]:
        from visionflow.cli.field_options import field_options

        return field_options()


def named_method(typed: Any, none: str = "") -> Any:
    """The `Spec` of what was typed; None for the word `none`."""
    if not isinstance(typed, str) or typed == none:
        return None if typed == none else typed
    from visionflow.methods import parse

    try:
        return parse(typed)
    except VisionFlowError as error:
        raise typer.BadParameter(str(error)) from error


def method_option(none: str = "") -> Any:
    """--method, a `Spec`; where `none` is given, that word stands for no method, which is None."""
    return option(
        partial(named_method, none=none),
        "METHOD",
        f"One of {METHODS_HERE}, with settings after a colon (himap:k1=2,r1=0.5) or as options; a plan file; or "
        f"package.module:Class." + f" Or {none}." * bool(none),
    )


def typed_options(context: typer.Context) -> dict[str, str]:
    """What was typed after the options of fields, by field."""
    from visionflow.cli.field_options import TYPED

    found: dict[str, str] = context.meta.get(TYPED, {})
    return found


def with_options(context: typer.Context, spec: "Spec") -> "Spec":
    """The method of --method with the options typed beside it; what suits no model is refused.

    Raises:
        VisionFlowError: an option is none of the method's or is said twice, or a value is out of range.
    """
    from visionflow.methods.fields import settings_of

    typed = typed_options(context)
    check_options(spec.method.name, typed, settings_of(spec.method))
    spec = spec.having_typed(typed)
    spec.check()
    return spec


def check_options(method: str, typed: Iterable[str], own: Iterable[str]) -> None:
    """Refuse options that are not the method's `own`.

    Raises:
        VisionFlowError: one is another one's.
    """
    for name in sorted(set(typed) - set(own)):
        takes = ", ".join(map(flag, own)) or "none"
        raise VisionFlowError(f"{flag(name)} is not an option of method {method}, whose options are: {takes}")
