"""How many system, image and instruction tokens a prompt has: Figure 9 (Appendix A) of the HiMAP paper, as data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel

from visionflow.core import Tokens, find_tokens
from visionflow.engines.hf.caches import cache_of
from visionflow.engines.hf.families import family_of
from visionflow.errors import UnsupportedUsageError


@dataclass(frozen=True)
class SequenceLengths:
    """Tokens of one sample; padding is not counted."""

    system: int
    image: int
    instruction: int


def sequence_lengths(model: PreTrainedModel, inputs: Mapping[str, Any]) -> list[SequenceLengths]:
    """The lengths of each sample of a batch; nothing is run.

    Args:
        model: a supported model; only its config is read.
        inputs: what its processor gives, padded on either side.

    Raises:
        UnsupportedModelError: the model is not supported.
        UnsupportedUsageError: there are no ``input_ids``, or they continue a KV cache.
    """
    tokens = tokens_of(model, inputs)
    counts = zip(tokens.system.counts, tokens.image.counts, tokens.instruction.counts, strict=True)
    return [SequenceLengths(*sample) for sample in counts]


def tokens_of(model: PreTrainedModel, inputs: Mapping[str, Any]) -> Tokens:
    """The spans of a whole prompt, as a scope will find them when the model runs on it; raises as above."""
    family = family_of(model)
    ids = inputs.get("input_ids")
    if ids is None or cache_of(inputs) is not None:
        raise UnsupportedUsageError("the whole prompt is needed: pass what the processor gives, and no KV cache")
    pictures = any(inputs.get(name) is not None for name in family.image_inputs)
    return find_tokens(ids, inputs.get("attention_mask"), family.image_token_ids(model) if pictures else None)
