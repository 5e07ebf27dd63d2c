"""The three verbs - probe, drop, block - on unmodified Hugging Face models. Knows nothing of any paper.

What a method or an analysis is written with is here; what attaches it to a model is in `scope` and `families`, which
take transformers' model classes with them and are imported where a model is at hand.
"""

from visionflow.runtime.attention import AttentionRows, paid, received
from visionflow.runtime.layer import LayerAttention
from visionflow.runtime.plan import Block, Cut, Plan, Probe, Selection, Watch, Withhold
from visionflow.runtime.tokens import Group, Tokens, find_tokens
from visionflow.runtime.trace import Stage, Trace

__all__ = [
    "AttentionRows",
    "Block",
    "Cut",
    "Group",
    "LayerAttention",
    "Plan",
    "Probe",
    "Selection",
    "Stage",
    "Tokens",
    "Trace",
    "Watch",
    "Withhold",
    "find_tokens",
    "paid",
    "received",
]
