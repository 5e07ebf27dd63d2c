"""The one place where a method is named: text, a dict, JSON or a plan file in; a method with all its settings out.

``fastv:k=3,r=0.5`` is a method of `visionflow.methods.METHODS` with settings, ``package.module:Class:k=3`` one that is
registered nowhere, ``plan.json`` one that was saved (`visionflow.methods.plan_file`). What is not said suits the model.
"""

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, replace
from pathlib import Path
from typing import Any

from visionflow.core.forms import Form
from visionflow.core.plan import Plan
from visionflow.errors import VisionFlowError
from visionflow.methods.base import Method
from visionflow.methods.fields import plain, settings_of, split, written
from visionflow.methods.plan_file import PlanFile, SavedPlan
from visionflow.methods.registry import METHODS, load, name_of
from visionflow.methods.snapping import snapped

What = str | os.PathLike[str] | Mapping[str, Any] | Method
"""In what forms a method may be named."""

NAME = "name"
"""The key of the name in a dict; no field of a method is called so."""

_SHALLOW, _DEEP = 8, 1000


@dataclass(frozen=True)
class Spec:
    """A method that was named, and those of its settings that were said.

    Attributes:
        method: its class.
        settings: by field, of the field's kind.
        saved: the plan file that it is from.
    """

    method: type[Method]
    settings: Mapping[str, Any] = field(default_factory=dict)
    saved: PlanFile | None = None

    def having(self, more: Mapping[str, Any]) -> "Spec":
        """The same with `more` settings, in Python's form.

        Raises:
            VisionFlowError: one of them is none of the method, is said already, or is of another kind.
        """
        known = settings_of(self.method)
        for name in more:
            if name not in known:
                raise VisionFlowError(
                    f"{name!r} is no setting of {self.method.name}: choose of {', '.join(known) or 'none'}"
                )
            if name in self.settings:
                raise VisionFlowError(f"{name} of {self.method.name} is given twice: leave one out")
        return replace(
            self, settings={**self.settings, **{name: known[name].take(value) for name, value in more.items()}}
        )

    def having_typed(self, more: Mapping[str, Any]) -> "Spec":
        """The same with `more` settings, texts as they are typed."""
        known = settings_of(self.method)
        return self.having(
            {
                name: known[name].read(value) if name in known and isinstance(value, str) else value
                for name, value in more.items()
            }
        )

    def with_defaults(self, defaults: Mapping[str, Any]) -> "Spec":
        """The same with `defaults` for what is not said, in place of those that suit the model."""
        return self if self.saved else replace(self, settings={**defaults, **self.settings})

    def of(self, num_layers: int | None = None, model: str = "", architecture: str = "") -> Method:
        """The method for a model of so many layers, with defaults that suit it where nothing was said.

        Args:
            num_layers: of the decoder; None where it is not known. Of a `visionflow.core.depth.Depth`, layers that
                were not said are such that cuts on attention find some.
            model: what it is called, as `visionflow.loading.models.Loaded` has it.
            architecture: the ``model_type`` of its configuration; empty where it is not known.

        Raises:
            VisionFlowError: a setting is missing or out of range, or the model is not the one of the plan file.
            UnsupportedUsageError: a layer is beyond the depth.
        """
        if self.saved is not None:
            self.saved.check_model(num_layers, architecture)
        usual = {} if num_layers is None else self.method.defaults(num_layers, model)
        settings = {**usual, **self.settings}
        missing = [
            name for name, each in settings_of(self.method).items() if each.default is MISSING and name not in settings
        ]
        if missing:
            raise VisionFlowError(
                f"{self.method.name} needs {', '.join(missing)}: say "
                f"{self.method.name}:{','.join(f'{name}=...' for name in missing)}"
                + ", or give num_layers for defaults that suit it"
                * (num_layers is None)
            )
        method = self.method(**settings)
        if num_layers is not None:
            method = snapped(method, settings_of(self.method).keys() - self.settings.keys(), num_layers)
            method.plan().check_depth(num_layers)
        return method

    def check(self) -> None:
        """Refuse, before a model is loaded, settings that suit no depth."""
        if self.saved is None:
            try:
                self.of(_SHALLOW)
            except VisionFlowError:
                self.of(_DEEP)


def parse(what: What) -> Spec:
    """What is named.

    Raises:
        VisionFlowError: there is no such method, file, class or setting.
    """
    if isinstance(what, Method):
        return Spec(type(what), {name: getattr(what, name) for name in settings_of(type(what))})
    if isinstance(what, Mapping):
        return _of_dict(what)
    text = os.fspath(what).strip()
    if text.startswith("{"):
        try:
            content = json.loads(text)
        except ValueError as error:
            raise VisionFlowError(f"{text[:60]!r} is not valid JSON ({error})") from error
        return _of_dict(content)
    name, *settings = split(text, ":,")
    # Path.is_file would raise where a text is too long for a path.
    if name not in METHODS and (text.endswith(".json") or os.path.isfile(text)):  # noqa: PTH113
        return _of_file(PlanFile.read(Path(text)))
    if name not in METHODS and settings and re.fullmatch(r"[\w.]+", settings[0]):
        name = f"{name}:{settings.pop(0)}"
    spec = Spec(_class(name))
    for each in settings:
        setting, equals, value = (part.strip() for part in each.partition("="))
        if not equals:
            raise VisionFlowError(
                f"{each!r} is no setting of {name}: choose of "
                f"{', '.join(settings_of(spec.method)) or 'none'}, as in k=2"
            )
        spec = spec.having_typed({setting: value})
    return spec


def method(what: What, num_layers: int | None = None, model: str = "", architecture: str = "") -> Method:
    """A method from what it is called: ``visionflow.method("fastv:k=3,r=0.5")``.

    Args:
        what: a name with settings, ``package.module:Class`` with settings, the path of a plan file, JSON, or a dict as
            `Method.to_dict` makes it. A name with a colon imports that module: take none from strangers.
        num_layers: of the decoder, for defaults that suit its depth; None where all settings are said.
        model: what it is called, for defaults that are its own ("embedded").
        architecture: its ``model_type``; a plan file of another one is refused.

    Raises:
        VisionFlowError: it names no method, or a setting is missing, unknown or out of range.
    """
    return parse(what).of(num_layers, model, architecture)


def spec_of(method: Method) -> str:
    """The text from which `method` makes it again; JSON where a field has no place in such a text, such as a plan."""
    said = said_of(method)
    if any(isinstance(value, Form) for value in said.values()):
        return json.dumps(to_dict(method))
    return name_of(type(method)) + ":" * bool(said) + ",".join(f"{name}={written(said[name])}" for name in said)


def said_of(method: Method) -> dict[str, Any]:
    """The fields without a default, with another value than theirs, or `always_said`."""
    values = {name: (getattr(method, name), each.default) for name, each in settings_of(type(method)).items()}
    return {name: value for name, (value, default) in values.items() if value != default or name in method.always_said}


def to_dict(method: Method) -> dict[str, Any]:
    """Its name and all its fields, of JSON's types alone."""
    values = {name: plain(name, getattr(method, name)) for name in settings_of(type(method))}
    return {NAME: name_of(type(method)), **values}


def split_list(text: str) -> list[str]:
    """The methods in ``himap,fastv:k=3,r=0.5,plan.json``: what begins with a setting goes on with the one before."""
    found: list[str] = []
    for part in (each.strip() for each in split(text, ",")):
        if found and re.match(r"\w+\s*=", part):
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found


def _of_dict(content: Mapping[str, Any]) -> Spec:
    if "schema" in content:
        return _of_file(PlanFile.from_dict(content))
    if not isinstance(content.get(NAME), str):
        raise VisionFlowError(f"a method as a dict needs its {NAME!r}, as in {{'name': 'fastv', 'k': 3, 'r': 0.5}}")
    return Spec(_class(content[NAME])).having({key: value for key, value in content.items() if key != NAME})


def _of_file(saved: PlanFile) -> Spec:
    """The method that was saved, or, where that makes another plan now or is not there, the plan itself."""
    with suppress(VisionFlowError):
        spec = _of_dict(saved.method)
        if spec.of().plan().to_dict() == saved.plan:
            return replace(spec, saved=saved)
    return Spec(SavedPlan, {"content": Plan.from_dict(dict(saved.plan))}, saved)


def _class(name: str) -> type[Method]:
    if name in METHODS:
        return METHODS[name]
    if why := METHODS.broken(name):
        raise VisionFlowError(why)
    if ":" in name:
        return load(name)
    raise VisionFlowError(
        f"unknown method {name[:60]!r}: choose one of {', '.join(METHODS)}, a plan file, or package.module:Class"
    )
