"""The three verbs - probe, drop, block - on unmodified Hugging Face models. Knows nothing of any paper.

What a method or an analysis is written with is here; what attaches it to a model is in `scope` and `families`, which
take transformers' model classes with them and are imported where a model is at hand.
"""

from visionflow.runtime.attention import AttentionRows, paid, received
from visionflow.runtime.plan import Block, Cut, Plan, Probe
from visionflow.runtime.tokens import Group, Tokens, find_tokens
from visionflow.runtime.trace import Stage, Trace

__all__ = [
    "AttentionRows",
    "Block",
    "Cut",
    "Group",
    "Plan",
    "Probe",
    "Stage",
    "Tokens",
    "Trace",
    "find_tokens",
    "paid",
    "received",
]
