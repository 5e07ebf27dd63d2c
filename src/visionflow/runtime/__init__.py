"""The three verbs - probe, drop, block - on unmodified Hugging Face models. Knows nothing of any paper."""

from visionflow.runtime.attention import AttentionRows, paid, received
from visionflow.runtime.families import FAMILIES, Family, family_of
from visionflow.runtime.plan import Block, Cut, Plan, Probe
from visionflow.runtime.scope import Scope
from visionflow.runtime.tokens import Group, Tokens, find_tokens
from visionflow.runtime.trace import Stage, Trace

__all__ = [
    "FAMILIES",
    "AttentionRows",
    "Block",
    "Cut",
    "Family",
    "Group",
    "Plan",
    "Probe",
    "Scope",
    "Stage",
    "Tokens",
    "Trace",
    "family_of",
    "find_tokens",
    "paid",
    "received",
]
