"""What becomes of the first answer token where some tokens could not read some others, in every stretch of layers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from visionflow.core.attention import exact
from visionflow.core.depth import listed
from visionflow.core.tokens import GroupName
from visionflow.engines.hf.families import check_head
from visionflow.engines.hf.layer_kinds import depth_of
from visionflow.errors import UnsupportedUsageError, VisionFlowError
from visionflow.flow.consistency import top_tokens
from visionflow.flow.disruption import disrupt
from visionflow.flow.lengths import tokens_of

Flow = tuple[GroupName, GroupName]
"""Whose keys are not read, and who may not read them."""

FLOWS: tuple[Flow, ...] = (("image", "instruction"), ("image", "last"), ("image", "image"), ("system", "instruction"))


@dataclass(frozen=True)
class KnockOut:
    """The first answer token with one flow taken away in the layers from `first` to `last`, both included.

    Attributes:
        source, target: `target` could not read `source`.
        first, last: 0-based decoder layers.
        ids: int64 ``[top]``, the likeliest first tokens, best first.
        probabilities: theirs, fp32 (fp64 of an fp64 model).
        of_clean: the probability of the first token of the undisturbed model.
    """

    source: GroupName
    target: GroupName
    first: int
    last: int
    ids: Tensor
    probabilities: Tensor
    of_clean: float


def knock_outs(
    model: PreTrainedModel,
    inputs: Mapping[str, Any],
    flows: Sequence[Flow] = FLOWS,
    blocks: int = 8,
    top: int = 5,
) -> list[KnockOut]:
    """Take each flow away in every stretch of layers that begins and ends at the bounds of `blocks` blocks of layers.

    One prefill for each flow and stretch, ``blocks (blocks + 1) / 2`` of them for a flow. A flow without which a token
    would have nothing to read is left out.

    Args:
        model: as for `disrupt`.
        inputs: one prompt with a picture, as its processor gives it, without padding.
        flows: as ``(source, target)``.
        blocks: blocks of layers, of one size or nearly so; at most one for each layer.
        top: likeliest tokens told.

    Raises:
        UnsupportedModelError: the model is not supported, or has no head.
        UnsupportedUsageError: several prompts, a layer without attention, or as `disrupt`.
        VisionFlowError: `blocks` is less than 1.
    """
    check_head(model)
    if len(tokens_of(model, inputs).valid) != 1:
        raise UnsupportedUsageError("flows are knocked out of one prompt at a time")
    depth = depth_of(model.config)
    if len(depth.attending) < depth:
        raise UnsupportedUsageError(
            f"a flow is knocked out of every layer of a stretch, and of this model's {depth} layers only "
            f"{listed(depth.attending)} have attention, to knock it out of: disrupt takes these"
        )
    clean = _first_token(model, inputs)
    right = int(top_tokens(clean, 1))
    found = []
    for source, target in flows:
        for first, last in stretches(depth, blocks):
            scope = disrupt(model, source=source, target=target, layers=range(first, last + 1))
            try:
                with scope:
                    shares = _first_token(model, inputs)
            except UnsupportedUsageError:  # some token is left with nothing to read
                break
            ids = top_tokens(shares, top)
            found.append(KnockOut(source, target, first, last, ids, shares[ids], float(shares[right])))
    return found


def stretches(num_layers: int, blocks: int) -> Iterator[tuple[int, int]]:
    """First and last layer of every run of whole blocks, of `blocks` blocks into which the layers are cut.

    Raises:
        VisionFlowError: `blocks` is less than 1.
    """
    if blocks < 1:
        raise VisionFlowError(f"layers are cut into at least 1 block, not {blocks}")
    blocks = min(blocks, num_layers)
    bounds = [num_layers * number // blocks for number in range(blocks + 1)]
    return ((start, end - 1) for place, start in enumerate(bounds) for end in bounds[place + 1 :])


@torch.no_grad()
def _first_token(model: PreTrainedModel, inputs: Mapping[str, Any]) -> Tensor:
    """The probabilities ``[vocabulary]`` of the first answer token, on the CPU."""
    logits = model(**{**inputs, "use_cache": False, "logits_to_keep": 1}).logits
    return exact(logits[0, -1]).softmax(-1).cpu()
