"""One prompt, dense and pruned, from the same model in one run: answers, caches and times side by side."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from transformers import PreTrainedModel

from visionflow.answering import answers, enough_memory
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
    """The dense and the pruned run, and the trace of the pruned one."""

    dense: Run
    pruned: Run
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
    greedy = {"max_new_tokens": max_new_tokens, "do_sample": False, "num_beams": 1}

    def first_token() -> Any:
        return model.generate(
            **inputs, max_new_tokens=1, do_sample=False, num_beams=1, return_dict_in_generate=True
        ).past_key_values

    [dense_answer], *_ = answers(model, processor, inputs, None, _WAY_OUT, **greedy)
    [pruned_answer], _, trace = answers(model, processor, inputs, method, _WAY_OUT, **greedy)
    with enough_memory(model, _WAY_OUT):
        dense_bytes = _kv_bytes(first_token())  # the warm-up of the times below, too
        with prune(model, method):
            pruned_bytes = _kv_bytes(first_token())
        dense_s, pruned_s = _times(model, method, first_token)
    dense = Run(dense_answer.strip(), dense_bytes, dense_s)
    return Comparison(dense, Run(pruned_answer.strip(), pruned_bytes, pruned_s), trace)


def _times(model: PreTrainedModel, method: Method, first_token: Callable[[], Any]) -> tuple[float, float]:
    """Median seconds without and with the method; alternating, so that a busy machine slows both alike."""
    dense: list[float] = []
    pruned: list[float] = []
    while len(dense) < ROUNDS and sum(dense) + sum(pruned) < ENOUGH_S:
        dense.append(_seconds(model, first_token))
        with prune(model, method):
            pruned.append(_seconds(model, first_token))
    return median(dense), median(pruned)


def _seconds(model: PreTrainedModel, work: Callable[[], Any]) -> float:
    _wait(model)
    start = time.perf_counter()
    work()
    _wait(model)
    return time.perf_counter() - start


def _wait(model: PreTrainedModel) -> None:
    """Let an accelerator finish what was queued on it."""
    if model.device.type != "cpu":
        torch.accelerator.synchronize(model.device)


def _kv_bytes(cache: Any) -> int:
    return sum(part.nbytes for layer in cache.layers for part in (layer.keys, layer.values) if part is not None)
