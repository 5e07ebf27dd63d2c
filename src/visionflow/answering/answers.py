"""A batch of prompts answered, dense or pruned."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from visionflow.answering.facts import Facts, facts_of
from visionflow.errors import VisionFlowError
from visionflow.methods import Method
from visionflow.pruning import Pruning, PruningTrace, dense, prune


class Answers(NamedTuple):
    """Of a batch.

    Attributes:
        texts: as decoded.
        lengths: new tokens of each, its end-of-text token included.
        facts: of each prompt.
        trace: of the prompts.
    """

    texts: list[str]
    lengths: list[int]
    facts: list[Facts]
    trace: PruningTrace


def scope_of(model: PreTrainedModel, method: Method | None) -> Pruning:
    """The scope of a method, or for None one that does nothing but keep a trace."""
    return dense(model) if method is None else prune(model, method)


def greedy(new_tokens: int) -> dict[str, Any]:
    """Arguments of `generate` for the likeliest tokens, so many at most."""
    return {"max_new_tokens": new_tokens, "do_sample": False, "num_beams": 1}


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
    with enough_memory(model.device, way_out), scope_of(model, method) as trace:
        tokens = model.generate(**inputs, **generation)
    new = tokens[:, inputs["input_ids"].shape[1] :]
    texts = processor.tokenizer.batch_decode(new, skip_special_tokens=True)
    return Answers(texts, new_lengths(model, new), facts_of(model, inputs, trace), trace)


@contextmanager
def enough_memory(device: torch.device, way_out: str) -> Iterator[None]:
    """Say in one sentence that the memory of `device` has run out, and the `way_out`."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise VisionFlowError(f"out of memory on {device}: {way_out}") from error


def new_lengths(model: PreTrainedModel, new: Tensor) -> list[int]:
    """New tokens of each sample, up to its end-of-text token."""
    ends = model.generation_config.eos_token_id
    if ends is None:
        return [new.shape[1]] * len(new)
    ended = torch.isin(new, torch.tensor(ends, device=new.device))
    return [int(each.int().argmax()) + 1 if bool(each.any()) else new.shape[1] for each in ended]
