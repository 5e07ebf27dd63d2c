"""An option for each field of each method, made of its type, its docstring and its defaults; this loads torch."""

from collections.abc import Iterable
from inspect import Parameter, Signature
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer

from visionflow.cli.options import flag
from visionflow.errors import VisionFlowError
from visionflow.methods import METHODS, Method
from visionflow.methods.fields import Setting, settings_of, written

TYPED = "visionflow.typed"
"""Where a context keeps what was typed after these options, by field."""

_METAVARS = {int: "INT", float: "FLOAT", str: "TEXT", bool: "BOOL"}
_DEEP, _EMBEDDED = 32, (12, "embedded")  # layers of the models whose defaults are shown

User = tuple[type[Method], Setting]
"""A method and its field of a name."""


def field_options() -> list[Any]:
    """Typer's parameters, one for each name of a field."""
    users: dict[str, list[User]] = {}
    for method in METHODS.values():
        for name, setting in settings_of(method).items():
            users.setdefault(name, []).append((method, setting))

    def command(**_: Any) -> None: ...

    parameters = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(name, of))
        for name, of in users.items()
    ]
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    alone = typer.Typer(add_completion=False)
    alone.command()(command)
    made: Any = typer.main.get_command(alone)
    return list(made.params)


def _annotation(name: str, users: list[User]) -> Any:
    told = _by_text((method.name, setting.help or f"its {name}.") for method, setting in users)
    shown = _by_text((method.name, _default(method, setting)) for method, setting in users)
    common: dict[str, Any] = {
        "help": " ".join(f"{', '.join(names)}: {text}" for text, names in told.items()),
        "show_default": "; ".join(f"{', '.join(names)}: " * (len(shown) > 1) + text for text, names in shown.items()),
        "callback": _keep,
        "expose_value": False,
    }
    settings = [setting for _, setting in users]
    if all(setting.kind is bool for setting in settings):
        no = f"/{flag('no_' + name)}" if any(setting.default is not False for setting in settings) else ""
        return Annotated[bool | None, typer.Option(flag(name) + no, **common)]
    metavars = {_metavar(setting.kind) for setting in settings}
    metavar = metavars.pop() if len(metavars) == 1 else "VALUE"
    return Annotated[str | None, typer.Option(flag(name), parser=_parser(settings), metavar=metavar, **common)]


def _by_text(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The names that share a text."""
    shared: dict[str, list[str]] = {}
    for name, text in pairs:
        shared.setdefault(text, []).append(name)
    return shared


def _default(method: type[Method], setting: Setting) -> str:
    """What the field is where nothing is typed, and where that depends on the model."""
    own = {setting.name: setting.default}
    name, (depth, embedded) = setting.name, _EMBEDDED
    deep, same_depth, special = (
        {**own, **method.defaults(*model)}[name] for model in ((_DEEP,), (depth,), (depth, embedded))
    )
    if not isinstance(deep, bool | int | float | str | tuple | None):
        return "none: it has to be given"
    told = written(deep)
    if deep != same_depth or {**own, **method.defaults(4)}[name] != deep:
        told += f" of {_DEEP} layers"
    return told + (f", {embedded}: {written(special)}" if special != same_depth else "")


def _metavar(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        return "|".join(dict.fromkeys(_metavar(each) for each in get_args(kind) if each is not NoneType))
    if get_origin(kind) is tuple:
        return "A+B"
    return "NAME" if get_origin(kind) is Literal else _METAVARS.get(kind, "VALUE")


def _parser(settings: list[Setting]) -> Any:
    """Takes a text that one of the fields can read, as it is: which of them is meant is not known yet."""

    def read(typed: Any) -> Any:
        refused = None
        for setting in settings if isinstance(typed, str) else ():
            try:
                setting.read(typed)
                return typed
            except VisionFlowError as error:
                refused = error
        if refused:
            raise typer.BadParameter(str(refused))
        return typed

    return read


def _keep(context: typer.Context, parameter: typer.CallbackParam, value: str | bool | None) -> None:
    if value is not None:
        context.meta.setdefault(TYPED, {})[parameter.name] = str(value).lower() if isinstance(value, bool) else value
