"""The cost model: what a prefill costs dense and pruned, under three named conventions."""

from visionflow.cost.conventions import Convention, flops, gated, paper
from visionflow.cost.load import PRESETS, load_shape
from visionflow.cost.model import Cost, cost_of, cost_of_work
from visionflow.cost.shape import DecoderShape

__all__ = [
    "PRESETS",
    "Convention",
    "Cost",
    "DecoderShape",
    "cost_of",
    "cost_of_work",
    "flops",
    "gated",
    "load_shape",
    "paper",
]
