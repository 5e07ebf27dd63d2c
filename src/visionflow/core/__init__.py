"""What a method or an analysis is made of - probe, drop, block - in torch alone: no engine, no paper is known here."""

from visionflow.core.attention import AttentionRows
from visionflow.core.contribution import Contribution, contribution
from visionflow.core.layer import LayerAttention
from visionflow.core.plan import AdaptiveCuts, Block, Cut, Decision, Plan, Probe, Selection, Watch, Withhold
from visionflow.core.reductions import paid, received, received_after
from visionflow.core.tokens import Group, Tokens, find_tokens
from visionflow.core.trace import Stage, Trace
from visionflow.core.work import Look, Work

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
