"""Prompts answered dense or pruned, and what each of them took: one room for `ask`, `eval` and lmms-eval."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from visionflow.cost import Convention, Cost
from visionflow.engines.hf.families import family_of
from visionflow.errors import VisionFlowError
from visionflow.methods import Method
from visionflow.pruning import Pruning, PruningTrace, dense, prune

CONVENTIONS: tuple[Convention, ...] = ("paper", "gated", "flops")


class Answers(NamedTuple):
    """Of a batch: the texts as decoded, the new tokens, int64 ``[batch, new]``, and the trace of the prompts."""

    texts: list[str]
    tokens: Tensor
    trace: PruningTrace


@dataclass(frozen=True)
class Facts:
    """What one prompt of a batch took, as if it had been alone: padding, which depends on its company, is left out.

    Attributes:
        prompt_tokens: its length.
        image_tokens: present in each layer.
        kept: the numbers, from 0, of the image tokens that are there in the last layer.
        costs: of the prefill, by convention; None where the cost of the decoder is not modelled.
        decided: what a method that decides by prompt has decided; None of others.
    """

    prompt_tokens: int
    image_tokens: list[int]
    kept: list[int]
    costs: dict[Convention, Cost | None]
    decided: dict[str, Any] | None


def scope_of(model: PreTrainedModel, method: Method | None) -> Pruning:
    """The scope of a method, or for None one that does nothing but keep a trace."""
    return dense(model) if method is None else prune(model, method)


@torch.inference_mode()
def answers(
    model: PreTrainedModel, processor: Any, inputs: Any, method: Method | None, way_out: str, **generation: Any
) -> Answers:
    """Answer a batch of prompts with `method`, or dense for None.

    Args:
        model: a supported model.
        processor: its processor.
        inputs: as `visionflow.loading.prompts.make_prompts` gives them.
        method: what is pruned.
        way_out: what to do about too little memory.
        generation: arguments of `generate`.

    Raises:
        VisionFlowError: there is not enough memory, or the method does not fit the model.
    """
    with enough_memory(model, way_out), scope_of(model, method) as trace:
        tokens = model.generate(**inputs, **generation)
    new = tokens[:, inputs["input_ids"].shape[1] :]
    texts = processor.tokenizer.batch_decode(new, skip_special_tokens=True)
    return Answers(texts, new, trace)


@contextmanager
def enough_memory(model: PreTrainedModel, way_out: str) -> Iterator[None]:
    """Say in one sentence that memory has run out, and the `way_out`."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise VisionFlowError(f"out of memory on {model.device}: {way_out}") from error


def facts_of(model: PreTrainedModel, inputs: Any, trace: PruningTrace) -> list[Facts]:
    """The facts of each prompt in the batch that `trace` is of."""
    ids = torch.tensor(family_of(model).image_token_ids(model))
    image = torch.isin(inputs["input_ids"].cpu(), ids)
    number = image.cumsum(1) - 1
    columns = trace.stages[-1].kept if trace.stages else [row.nonzero()[:, 0] for row in image]
    return [
        Facts(
            prompt_tokens=int(inputs["attention_mask"][place].sum()),
            image_tokens=counts,
            kept=number[place][columns[place]].tolist(),
            costs={each: None if trace.uncosted else trace.cost_of(place, each) for each in CONVENTIONS},
            decided=trace.decisions[-1].tell(place) if trace.decisions else None,
        )
        for place, counts in enumerate(trace.image_tokens.T.tolist())
    ]
