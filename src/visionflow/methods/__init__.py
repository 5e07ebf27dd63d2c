"""One file per method, and the one place where methods are named: `METHODS`, `register`, `method`.

The classes load torch; they are loaded when they are first used, for ``visionflow --help`` names them all.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from visionflow.methods.registry import METHODS, register

if TYPE_CHECKING:
    from visionflow.methods.autoprune import AutoPrune
    from visionflow.methods.base import Method
    from visionflow.methods.cdpruner import CDPruner
    from visionflow.methods.cover import Cover
    from visionflow.methods.dart import DART
    from visionflow.methods.deft import DeFT
    from visionflow.methods.divprune import DivPrune
    from visionflow.methods.fastv import FastV
    from visionflow.methods.flowcut import FlowCut
    from visionflow.methods.grid import Grid
    from visionflow.methods.himap import HiMAP
    from visionflow.methods.mmtok import MMTok
    from visionflow.methods.plan_file import PlanFile
    from visionflow.methods.pyramiddrop import PyramidDrop
    from visionflow.methods.random import RandomPruning
    from visionflow.methods.schedule import Schedule
    from visionflow.methods.scope import SCOPE
    from visionflow.methods.sparsevlm import SparseVLM
    from visionflow.methods.spec import Spec, method, parse
    from visionflow.methods.text_rows import TextRows
    from visionflow.methods.unlike_mean import UnlikeMean
    from visionflow.methods.visionzip import VisionZip
    from visionflow.methods.visipruner import VisiPruner
    from visionflow.methods.vtw import VTW

__all__ = [
    "DART",
    "METHODS",
    "SCOPE",
    "VTW",
    "AutoPrune",
    "CDPruner",
    "Cover",
    "DeFT",
    "DivPrune",
    "FastV",
    "FlowCut",
    "Grid",
    "HiMAP",
    "MMTok",
    "Method",
    "PlanFile",
    "PyramidDrop",
    "RandomPruning",
    "Schedule",
    "SparseVLM",
    "Spec",
    "TextRows",
    "UnlikeMean",
    "VisiPruner",
    "VisionZip",
    "method",
    "parse",
    "register",
]

_MODULES = {
    "AutoPrune": "autoprune",
    "CDPruner": "cdpruner",
    "Cover": "cover",
    "DART": "dart",
    "DeFT": "deft",
    "DivPrune": "divprune",
    "FastV": "fastv",
    "FlowCut": "flowcut",
    "Grid": "grid",
    "HiMAP": "himap",
    "Method": "base",
    "method": "spec",
    "MMTok": "mmtok",
    "parse": "spec",
    "PlanFile": "plan_file",
    "PyramidDrop": "pyramiddrop",
    "RandomPruning": "random",
    "Schedule": "schedule",
    "SCOPE": "scope",
    "SparseVLM": "sparsevlm",
    "Spec": "spec",
    "TextRows": "text_rows",
    "UnlikeMean": "unlike_mean",
    "VisionZip": "visionzip",
    "VisiPruner": "visipruner",
    "VTW": "vtw",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"visionflow.methods.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'visionflow.methods' has no attribute {name!r}")
