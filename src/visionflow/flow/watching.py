"""One pass over a batch of prompts that keeps what the watches take from it, and nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor
from transformers import PreTrainedModel

from visionflow.core.flows import Watch
from visionflow.core.plan import Plan
from visionflow.core.tokens import GroupName, Selection, Tokens
from visionflow.engines.hf.families import family_of
from visionflow.engines.hf.layer_kinds import depth_of
from visionflow.engines.hf.scope import Scope
from visionflow.errors import UnsupportedUsageError
from visionflow.flow.lengths import tokens_of


def run_prompt(model: PreTrainedModel, inputs: Mapping[str, Any], *watches: Watch) -> Tokens:
    """Run the prompts once, without gradients and without a KV cache, for `watches` to see; what tokens they have.

    Raises:
        UnsupportedModelError: the model is not supported.
        UnsupportedUsageError: no ``input_ids`` or a KV cache in `inputs`, a layer beyond the model's depth, a scope is
            open on the model, or it is in training mode.
    """
    tokens = tokens_of(model, inputs)
    rows = 0 if family_of(model).shares_keys else 1  # Gemma 4's late layers would run no more than these
    with Scope(model, Plan(watches=watches)), torch.no_grad():
        model(**{**inputs, "use_cache": False, "logits_to_keep": rows})
    return tokens


def layers_or_all(model: PreTrainedModel, layers: Sequence[int] | None) -> tuple[int, ...]:
    """The decoder layers to watch; all that attend for None.

    Raises:
        UnsupportedUsageError: there are none.
    """
    chosen = depth_of(model.config).attending if layers is None else tuple(layers)
    if not chosen:
        raise UnsupportedUsageError("layers is empty: name at least one decoder layer, or leave it out for all")
    return chosen


def check_selection(selection: Selection) -> None:
    """Refuse the name of a group that there is not."""
    if not callable(selection) and selection not in get_args(GroupName):
        names = ", ".join(map(repr, get_args(GroupName)))
        raise UnsupportedUsageError(f"there is no group {selection!r}: use {names}, or a function of the tokens")


def at_last(values: Tensor, tokens: Tokens) -> Tensor:
    """The entries ``[batch, ...]`` of ``[batch, tokens, ...]`` that belong to each sample's last prompt token."""
    place = tokens.last.mask.to(values.device).int().argmax(1)
    return values[torch.arange(len(values), device=values.device), place]


def of_image(values: Tensor, tokens: Tokens) -> list[Tensor]:
    """Per sample, the entries ``[..., image_tokens]`` of ``[batch, ..., tokens]`` that belong to image tokens."""
    image = tokens.image.mask.to(values.device)
    return [values[sample][..., image[sample]] for sample in range(len(values))]
