"""One prompt, dense and pruned, from the same model in one run: answers, caches and times side by side."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from transformers import PreTrainedModel

from visionflow.answering.answers import answers, enough_memory, greedy
from visionflow.answering.facts import Facts, kv_bytes
from visionflow.answering.timing import seconds
from visionflow.engines.hf.caches import cache_of
from visionflow.methods.base import Method
from visionflow.pruning import PruningTrace, prune

ROUNDS = 5
ENOUGH_S = 20.0  # a large model on a CPU gets fewer rounds

_WAY_OUT = "try a smaller model, --dtype bfloat16, or --device cpu"


@dataclass(frozen=True)
class Run:
    """What one way of running the prompt gave.

    Attributes:
        answer: the generated text.
        kv_bytes: measured size of the prompt's keys and values, all layers.
        first_token_s: measured time to the first token, vision tower included: the median of a few rounds.
    """

    answer: str
    kv_bytes: int
    first_token_s: float


@dataclass(frozen=True)
class Comparison:
    """The dense and the pruned run, and of the pruned one the facts and the trace."""

    dense: Run
    pruned: Run
    facts: Facts
    trace: PruningTrace


@torch.inference_mode()
def compare(model: PreTrainedModel, processor: Any, inputs: Any, method: Method, max_new_tokens: int) -> Comparison:
    """Answer the prompt greedily without and with `method`.

    Args:
        model: a supported model.
        processor: its processor.
        inputs: one prompt, as `visionflow.loading.prompts.make_prompt` gives it.
        method: for example ``HiMAP(2, 0.5, 8, 0.75)``.
        max_new_tokens: length of the answers, at most.

    Raises:
        VisionFlowError: there is not enough memory, or the method does not fit the model.
    """

    def first_token() -> Any:
        return cache_of(model.generate(**inputs, **greedy(1), return_dict_in_generate=True))

    dense = answers(model, processor, inputs, None, _WAY_OUT, **greedy(max_new_tokens))
    pruned = answers(model, processor, inputs, method, _WAY_OUT, **greedy(max_new_tokens))
    with enough_memory(model.device, _WAY_OUT):
        dense_bytes = kv_bytes(first_token())  # the warm-up of the times below, too
        with prune(model, method):
            pruned_bytes = kv_bytes(first_token())
        dense_s, pruned_s = _times(model, method, first_token)
    return Comparison(
        Run(dense.texts[0].strip(), dense_bytes, dense_s),
        Run(pruned.texts[0].strip(), pruned_bytes, pruned_s),
        pruned.facts[0],
        pruned.trace,
    )


def _times(model: PreTrainedModel, method: Method, first_token: Callable[[], Any]) -> tuple[float, float]:
    """Median seconds without and with the method; alternating, so that a busy machine slows both alike."""
    dense: list[float] = []
    pruned: list[float] = []
    while len(dense) < ROUNDS and sum(dense) + sum(pruned) < ENOUGH_S:
        dense.append(seconds(model.device, first_token))
        with prune(model, method):
            pruned.append(seconds(model.device, first_token))
    return median(dense), median(pruned)
