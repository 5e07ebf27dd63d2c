"""Which methods there are: those of the package, those told by `register`, and plug-ins; loaded when asked for."""

import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, TypeVar

from visionflow.errors import VisionFlowError

if TYPE_CHECKING:
    from visionflow.methods.base import Method

GROUP = "visionflow.methods"
"""The entry points of plug-ins: ``toy = "package.module:Toy"``, where `Toy.name` is "toy"."""

_BUILT_IN = {
    "himap": "visionflow.methods.himap:HiMAP",
    "fastv": "visionflow.methods.fastv:FastV",
    "vtw": "visionflow.methods.vtw:VTW",
    "visipruner": "visionflow.methods.visipruner:VisiPruner",
    "pyramiddrop": "visionflow.methods.pyramiddrop:PyramidDrop",
    "visionzip": "visionflow.methods.visionzip:VisionZip",
    "divprune": "visionflow.methods.divprune:DivPrune",
    "sparsevlm": "visionflow.methods.sparsevlm:SparseVLM",
    "cdpruner": "visionflow.methods.cdpruner:CDPruner",
    "dart": "visionflow.methods.dart:DART",
    "scope": "visionflow.methods.scope:SCOPE",
    "mmtok": "visionflow.methods.mmtok:MMTok",
    "deft": "visionflow.methods.deft:DeFT",
    "flowcut": "visionflow.methods.flowcut:FlowCut",
    "autoprune": "visionflow.methods.autoprune:AutoPrune",
    "text-rows": "visionflow.methods.text_rows:TextRows",
    "random": "visionflow.methods.random:RandomPruning",
    "grid": "visionflow.methods.grid:Grid",
    "unlike-mean": "visionflow.methods.unlike_mean:UnlikeMean",
    "cover": "visionflow.methods.cover:Cover",
    "schedule": "visionflow.methods.schedule:Schedule",
}


class PlugInWarning(UserWarning):
    """A plug-in is left out, and why."""


Kind = TypeVar("Kind", bound="type[Method]")


class Registry(Mapping[str, "type[Method]"]):
    """Methods by name, each loaded when it is asked for; plug-ins that cannot be loaded are told of and left out."""

    def __init__(self, built_in: Mapping[str, str]) -> None:
        self._built_in = built_in
        self._registered: dict[str, type[Method]] = {}
        self._broken: dict[str, str] = {}

    @property
    def _plug_ins(self) -> dict[str, EntryPoint]:
        return {each.name: each for each in entry_points(group=GROUP)}

    def names(self) -> list[str]:
        """The names of all, those included that turn out not to load; nothing is loaded for it."""
        return list(dict.fromkeys((*self._built_in, *self._registered, *self._plug_ins)))

    def add(self, method: "type[Method]") -> None:
        """Make a method known under its name.

        Raises:
            VisionFlowError: another method has that name.
        """
        other = self._built_in.get(method.name) or _place(self._registered.get(method.name, method))
        if other != _place(method):
            raise VisionFlowError(f"{_place(method)} cannot be called {method.name!r}: that is {other}; choose another")
        self._registered[method.name] = method

    def broken(self, name: str) -> str:
        """Why the plug-in of that name is left out; empty where none is."""
        return self._broken.get(name, "")

    def __getitem__(self, name: str) -> "type[Method]":
        if name in self._registered:
            return self._registered[name]
        if name in self._built_in:
            return load(self._built_in[name])
        entry = self._plug_ins.get(name)
        if entry and name not in self._broken:
            try:
                return self._plugged_in(entry)
            except Exception as error:  # whatever a stranger's module does on import
                why = "" if isinstance(error, VisionFlowError) else f"{entry.value} raises {type(error).__name__}: "
                self._broken[name] = f"the plug-in {name} is left out: {why}{' '.join(str(error).split())}"
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        for name in self.names():
            told = name in self._broken
            if name in self:
                yield name
            elif not told:
                warnings.warn(self._broken[name], PlugInWarning, stacklevel=2)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _plugged_in(self, entry: EntryPoint) -> "type[Method]":
        method = load(entry.value)
        if method.name != entry.name:
            raise VisionFlowError(f"its method is called {method.name!r}, its entry point {entry.name!r}")
        self._registered[method.name] = method
        return method


METHODS = Registry(_BUILT_IN)
"""Every command, benchmark and test knows these."""


def register(method: Kind) -> Kind:
    """Make a method known by its name, in this process: a decorator of its class."""
    METHODS.add(method)
    return method


def load(place: str) -> "type[Method]":
    """The method that is at ``package.module:Class``.

    Raises:
        VisionFlowError: there is no such module or class, or it is no method.
    """
    from visionflow.methods.base import Method

    module, _, name = place.partition(":")
    try:
        found: Any = import_module(module)
    except ModuleNotFoundError as error:
        raise VisionFlowError(f"cannot load {place}: there is no module {error.name}") from error
    try:
        for each in name.split("."):
            found = getattr(found, each)
    except AttributeError as error:
        raise VisionFlowError(f"cannot load {place}: {module} has no {name}") from error
    if not (isinstance(found, type) and issubclass(found, Method) and hasattr(found, "name")):
        raise VisionFlowError(f"{place} is no method: it must be a subclass of visionflow.Method with a name")
    return found


def name_of(method: "type[Method]") -> str:
    """By which `visionflow.method` finds it: the name under which it is registered, or ``package.module:Class``."""
    return method.name if METHODS.get(method.name) is method else _place(method)


def _place(method: "type[Method]") -> str:
    return f"{method.__module__}:{method.__qualname__}"
