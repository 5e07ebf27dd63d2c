"""Where information flows in a multimodal LLM, layer by layer: the analyses of the HiMAP and VisiPruner papers."""

from visionflow.flow.attention_maps import PictureAttention, picture_attention
from visionflow.flow.disruption import Disruption, disrupt
from visionflow.flow.disruption_sweep import Effect, FlowShift, both_flows, first_and_last_layers, flow_shift, sweep
from visionflow.flow.lengths import SequenceLengths, sequence_lengths
from visionflow.flow.lens import LogitLens, ValueOutputLens, logit_lens, value_output_lens, with_words
from visionflow.flow.saliency import Saliency, saliency
from visionflow.flow.sinks import Sinks, ValueNorms, sinks, value_norms
from visionflow.flow.withholding import withhold

__all__ = [
    "Disruption",
    "Effect",
    "FlowShift",
    "LogitLens",
    "PictureAttention",
    "Saliency",
    "SequenceLengths",
    "Sinks",
    "ValueNorms",
    "ValueOutputLens",
    "both_flows",
    "disrupt",
    "first_and_last_layers",
    "flow_shift",
    "logit_lens",
    "picture_attention",
    "saliency",
    "sequence_lengths",
    "sinks",
    "sweep",
    "value_norms",
    "value_output_lens",
    "with_words",
    "withhold",
]
