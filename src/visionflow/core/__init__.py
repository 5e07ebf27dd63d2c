"""What a method or an analysis is made of - probe, drop, block - in torch alone: no engine, no paper is known here."""

from visionflow.core.adaptive import AdaptiveCuts, Decision
from visionflow.core.attention import AttentionRows
from visionflow.core.contribution import Contribution, contribution
from visionflow.core.coverage import Coverage, TextAndImageCoverage, TopThenCoverage
from visionflow.core.evidence import Attention, Both, Evidence, Features, Nothing, Seeded, Shown, Tower
from visionflow.core.feature_scores import AwayFromMean, FeatureScore, Length, LikeText, Raters, RowWeights
from visionflow.core.flows import Block, Watch, Withhold
from visionflow.core.forms import Form
from visionflow.core.greedy import Dpp, FarFromPivots, MaxMin
from visionflow.core.keep import Count, Keep, Positive, Ratio
from visionflow.core.layer import LayerAttention
from visionflow.core.merging import Contextual, Recycled
from visionflow.core.plan import Cut, Plan
from visionflow.core.reductions import Paid, Received, ReceivedAfter, Reduction, paid, received, received_after
from visionflow.core.selection import Chosen, Select, Spaced, Top
from visionflow.core.tokens import Group, Selection, Tokens, find_tokens
from visionflow.core.trace import Stage, Trace
from visionflow.core.work import Probed, Work

Probe, Look = Attention, Probed
"""What `Attention` and `Probed` were called."""

__all__ = [
    "AdaptiveCuts",
    "Attention",
    "AttentionRows",
    "AwayFromMean",
    "Block",
    "Both",
    "Chosen",
    "Contextual",
    "Contribution",
    "Count",
    "Coverage",
    "Cut",
    "Decision",
    "Dpp",
    "Evidence",
    "FarFromPivots",
    "FeatureScore",
    "Features",
    "Form",
    "Group",
    "Keep",
    "LayerAttention",
    "Length",
    "LikeText",
    "Look",
    "MaxMin",
    "Nothing",
    "Paid",
    "Plan",
    "Positive",
    "Probe",
    "Probed",
    "Raters",
    "Ratio",
    "Received",
    "ReceivedAfter",
    "Recycled",
    "Reduction",
    "RowWeights",
    "Seeded",
    "Select",
    "Selection",
    "Shown",
    "Spaced",
    "Stage",
    "TextAndImageCoverage",
    "Tokens",
    "Top",
    "TopThenCoverage",
    "Tower",
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
