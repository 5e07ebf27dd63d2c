"""See how a multimodal LLM uses its image tokens, layer by layer, and stop paying for the ones it does not use."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionflow.errors import UnsupportedModelError, UnsupportedUsageError, VisionFlowError
    from visionflow.methods import (
        DART,
        SCOPE,
        VTW,
        AutoPrune,
        CDPruner,
        Cover,
        DeFT,
        DivPrune,
        FastV,
        FlowCut,
        Grid,
        HiMAP,
        Method,
        MMTok,
        PyramidDrop,
        RandomPruning,
        Schedule,
        SparseVLM,
        TextRows,
        UnlikeMean,
        VisionZip,
        VisiPruner,
        method,
    )
    from visionflow.pruning import Pruning, PruningTrace, prune, unprune
    from visionflow.report.look import LookReport, look
    from visionflow.tuning import Tuned, tune

__version__ = "0.1.0"

__all__ = [
    "DART",
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
    "LookReport",
    "MMTok",
    "Method",
    "Pruning",
    "PruningTrace",
    "PyramidDrop",
    "RandomPruning",
    "Schedule",
    "SparseVLM",
    "TextRows",
    "Tuned",
    "UnlikeMean",
    "UnsupportedModelError",
    "UnsupportedUsageError",
    "VisiPruner",
    "VisionFlowError",
    "VisionZip",
    "look",
    "method",
    "prune",
    "tune",
    "unprune",
]


def __getattr__(name: str) -> Any:
    """Load torch and transformers when a name is first used, so that ``visionflow --help`` does not wait for them."""
    for module in ("errors", "methods", "pruning", "report.look", "tuning"):
        if name in __all__ and hasattr(found := import_module(f"visionflow.{module}"), name):
            return getattr(found, name)
    raise AttributeError(f"module 'visionflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    """All that can be had, loaded or not."""
    return sorted({*globals(), *__all__})
