"""A scope costs nothing where it has nothing to do: counted in tensor operations, not with a clock."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from tests.counting import Operations
from tests.matrix import METHODS, NOTHING_DROPPED, PLACED, in_turns
from tests.tiny import IMAGE_TOKEN, batch_of, prompt
from visionflow import Method, prune
from visionflow.bench.memory import peak_memory
from visionflow.core import AttentionRows, find_tokens, paid, received
from visionflow.core.cutting import asked_of

WITHOUT_TOWER = [method for method in METHODS if "tower" not in asked_of(method.plan())]
"""The others look at the vision tower while it runs, before it is known how many tokens there are."""
COUNTED = [method for method in METHODS if method.cuts() and all(cut.keep(8) is not None for cut in method.cuts())]


def operations(model: PreTrainedModel, **inputs: Any) -> Operations:
    with Operations() as counted, torch.no_grad():
        model(**inputs)
    return counted


@pytest.mark.parametrize("method", [each for each in NOTHING_DROPPED if "tower" not in asked_of(each.plan())], ids=str)
def test_dropping_nothing_adds_the_search_for_spans_and_no_more(model: PreTrainedModel, method: Method) -> None:
    inputs = batch_of([prompt(3, "image", 6), prompt(20, "image", 12)])
    dense = operations(model, **inputs).count
    with prune(model, method):
        idle = operations(model, **inputs).count
    with Operations() as spans:
        find_tokens(inputs["input_ids"], inputs["attention_mask"], IMAGE_TOKEN)
    assert idle - dense == spans.count


@pytest.mark.parametrize("method", [each for each in COUNTED if each in PLACED], ids=str)
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


def long_prompt(model: PreTrainedModel, image_tokens: int) -> dict[str, Any]:
    """A prompt with so many image tokens, whose features no encoder was run for."""
    ids = torch.cat([torch.full((1, 6), 5), torch.full((1, image_tokens), IMAGE_TOKEN), torch.full((1, 12), 7)], 1)
    width = model.config.get_text_config().hidden_size
    features = torch.randn(image_tokens, width, generator=torch.Generator().manual_seed(0))
    encoded = BaseModelOutputWithPooling(pooler_output=[features])
    return {"input_ids": ids, "mm_encoder_outputs": {"image": encoded}, "logits_to_keep": 1}


def peak(model: PreTrainedModel, inputs: dict[str, Any]) -> int:
    with torch.no_grad():
        found, _ = peak_memory(model.device, lambda: model(**inputs))
    assert found is not None
    return found


@in_turns("image_tokens", [(20,), (60,)], [[(20,)], [(60,)]], WITHOUT_TOWER)
def test_the_prefill_never_needs_more_memory_than_the_dense_one(
    model: PreTrainedModel, method: Method, image_tokens: int
) -> None:
    inputs = long_prompt(model, image_tokens)
    dense = peak(model, inputs)
    with prune(model, method):
        assert peak(model, inputs) < dense


@pytest.mark.parametrize("reduce", [received, partial(paid, to="image")], ids=["received", "paid"])
def test_a_look_needs_memory_linear_in_the_tokens(reduce: Callable[[AttentionRows], Tensor]) -> None:
    def needed(image_tokens: int) -> int:
        ids = torch.cat([torch.full((1, 6), 5), torch.full((1, image_tokens), IMAGE_TOKEN)], 1)
        tokens = find_tokens(ids, None, IMAGE_TOKEN)
        query, key = torch.randn(1, 4, ids.shape[1], 8), torch.randn(1, 2, ids.shape[1], 8)
        rows = AttentionRows(query, key, 0.3, None, *tokens.image.index(), tokens)
        found, _ = peak_memory(query.device, lambda: reduce(rows))
        assert found is not None
        return found

    assert needed(2048) < 2.2 * needed(1024) < 5 * needed(512)
