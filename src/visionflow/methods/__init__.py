"""One file per method, and the one place where methods are named: `METHODS`, `register`, `method`.

The classes load torch; they are loaded when they are first used, for ``visionflow --help`` names them all.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from visionflow.methods.registry import METHODS, register

if TYPE_CHECKING:
    from visionflow.methods.base import Method
    from visionflow.methods.fastv import FastV
    from visionflow.methods.himap import HiMAP
    from visionflow.methods.plan_file import PlanFile
    from visionflow.methods.random import RandomPruning
    from visionflow.methods.spec import Spec, method, parse
    from visionflow.methods.visipruner import VisiPruner
    from visionflow.methods.vtw import VTW

__all__ = [
    "METHODS",
    "VTW",
    "FastV",
    "HiMAP",
    "Method",
    "PlanFile",
    "RandomPruning",
    "Spec",
    "VisiPruner",
    "method",
    "parse",
    "register",
]

_MODULES = {
    "FastV": "fastv", "HiMAP": "himap", "Method": "base", "PlanFile": "plan_file", "RandomPruning": "random",
    "Spec": "spec", "VTW": "vtw", "VisiPruner": "visipruner", "method": "spec", "parse": "spec",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"visionflow.methods.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'visionflow.methods' has no attribute {name!r}")
