"""What a prompt took: its tokens, those that stayed, its cost."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from visionflow.cost import Convention, Cost
from visionflow.engines.hf.families import family_of
from visionflow.pruning import PruningTrace

CONVENTIONS: tuple[Convention, ...] = ("paper", "gated", "flops")


@dataclass(frozen=True)
class Facts:
    """What one prompt of a batch took, as if it had been alone: padding, which depends on its company, is left out.

    Attributes:
        prompt_tokens: its length.
        given_image_tokens: that came in, before any cut.
        image_tokens: present in each layer, after the cut before it.
        kept: the numbers, from 0, of the image tokens that are there in the last layer.
        costs: of the prefill, by convention; None where the cost of the decoder is not modelled.
        decided: what a method that decides by prompt has decided; None of others.
    """

    prompt_tokens: int
    given_image_tokens: int
    image_tokens: list[int]
    kept: list[int]
    costs: dict[Convention, Cost | None]
    decided: dict[str, Any] | None


def facts_of(model: PreTrainedModel, inputs: Any, trace: PruningTrace) -> list[Facts]:
    """The facts of each prompt in the batch that `trace` is of."""
    ids = torch.tensor(family_of(model).image_token_ids(model))
    image = torch.isin(inputs["input_ids"].cpu(), ids)
    number = image.cumsum(1) - 1
    columns = trace.stages[-1].kept if trace.stages else [of_sample.nonzero()[:, 0] for of_sample in image]
    return [
        Facts(
            prompt_tokens=int(inputs["attention_mask"][place].sum()),
            given_image_tokens=given,
            image_tokens=counts,
            kept=number[place][columns[place]].tolist(),
            costs={each: None if trace.uncosted else trace.cost_of(place, each) for each in CONVENTIONS},
            decided=trace.decisions[-1].tell(place) if trace.decisions else None,
        )
        for place, (given, counts) in enumerate(
            zip(trace.given_image_tokens.tolist(), trace.image_tokens.T.tolist(), strict=True)
        )
    ]


def kv_bytes(cache: Any) -> int:
    """Measured size of what the layers keep of a prompt: keys, values, an indexer's keys, and states."""
    return sum(kv_bytes_by_layer(cache))


def kv_bytes_by_layer(cache: Any) -> list[int]:
    """The same of each layer."""
    return [sum(part.nbytes for part in _held(layer)) for layer in cache.layers]


def _held(layer: Any) -> list[Tensor]:
    """The tensors of one layer of a cache."""
    states = (getattr(layer, name, None) or {} for name in ("conv_states", "recurrent_states"))
    parts = [getattr(layer, name, None) for name in ("keys", "values", "indexer_keys")]
    return [part for part in (*parts, *(one for of_kind in states for one in of_kind.values())) if part is not None]
