"""A scope costs nothing where it has nothing to do: counted in tensor operations, not with a clock."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from tests.matrix import METHODS, NOTHING_DROPPED
from tests.tiny import IMAGE_TOKEN, batch_of, prompt
from visionflow import Method, prune
from visionflow.runtime import find_tokens

COUNTED = [method for method in METHODS if method.cuts() and all(cut.count for cut in method.cuts())]


class Operations(TorchDispatchMode):
    """Counts the operations that reach the device, and those that make the host wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.waits = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        self.waits += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        return func(*args, **(kwargs or {}))


def operations(model: PreTrainedModel, **inputs: Any) -> Operations:
    with Operations() as counted, torch.no_grad():
        model(**inputs)
    return counted


@pytest.mark.parametrize("method", NOTHING_DROPPED, ids=str)
def test_dropping_nothing_adds_the_search_for_spans_and_no_more(model: PreTrainedModel, method: Method) -> None:
    inputs = batch_of([prompt(3, "image", 6), prompt(20, "image", 12)])
    dense = operations(model, **inputs).count
    with prune(model, method):
        idle = operations(model, **inputs).count
    with Operations() as spans:
        find_tokens(inputs["input_ids"], inputs["attention_mask"], IMAGE_TOKEN)
    assert idle - dense == spans.count


@pytest.mark.parametrize("method", COUNTED, ids=str)
def test_decoding_without_padding_runs_the_dense_operations(model: PreTrainedModel, method: Method) -> None:
    inputs = batch_of([prompt(3, "image", 6), prompt(3, "image", 6, seed=1)])
    inputs.pop("attention_mask")
    step = {"input_ids": torch.tensor([[5], [6]])}
    with torch.no_grad():
        dense = operations(model, **step, past_key_values=model(**inputs).past_key_values)
        with prune(model, method):
            pruned = operations(model, **step, past_key_values=model(**inputs).past_key_values)
    assert pruned.count == dense.count
    assert pruned.waits == dense.waits


@pytest.mark.parametrize("method", COUNTED, ids=str)
def test_the_host_waits_for_the_counts_and_never_in_the_layer_loop(model: PreTrainedModel, method: Method) -> None:
    inputs = batch_of([prompt(3, "image", 6), prompt(20, "image", 12)])
    with prune(model, method):
        before_layers = operations(model, **inputs).waits
        waits: list[int] = []
        layers = model.model.language_model.layers
        with Operations() as counted, torch.no_grad():
            first = layers[0].register_forward_pre_hook(lambda *_: waits.append(counted.waits))
            last = layers[-1].register_forward_hook(lambda *_: waits.append(counted.waits))
            model(**inputs)
        first.remove()
        last.remove()
    assert waits[0] == waits[1]
    assert before_layers >= waits[0]
