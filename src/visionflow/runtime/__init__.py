"""The three verbs - probe, drop, block - on unmodified Hugging Face models. Knows nothing of any paper.

What a method or an analysis is written with is here; what attaches it to a model is in `scope` and `families`, which
take transformers' model classes with them and are imported where a model is at hand.
"""

from visionflow.runtime.attention import AttentionRows
from visionflow.runtime.contribution import Contribution, contribution
from visionflow.runtime.layer import LayerAttention
from visionflow.runtime.plan import AdaptiveCuts, Block, Cut, Decision, Plan, Probe, Selection, Watch, Withhold
from visionflow.runtime.reductions import paid, received, received_after
from visionflow.runtime.tokens import Group, Tokens, find_tokens
from visionflow.runtime.trace import Stage, Trace
from visionflow.runtime.work import Look, Work

__all__ = [
    "AdaptiveCuts",
    "AttentionRows",
    "Block",
    "Contribution",
    "Cut",
    "Decision",
    "Group",
    "LayerAttention",
    "Look",
    "Plan",
    "Probe",
    "Selection",
    "Stage",
    "Tokens",
    "Trace",
    "Watch",
    "Withhold",
    "Work",
    "contribution",
    "find_tokens",
    "paid",
    "received",
    "received_after",
]
