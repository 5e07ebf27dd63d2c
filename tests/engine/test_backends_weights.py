"""Quantised weights and adapters: a model that carries them is pruned as any other."""

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from tests.exact import EXACTLY
from tests.matrix import prompts
from tests.reference import Keep, image_columns, masked_from
from tests.tiny import batch_of, tiny_llava
from visionflow import VTW, FastV, HiMAP, Method, VisiPruner, prune

METHODS = [HiMAP(2, 0.5, 4, 0.75), FastV(2, 0.5), VTW(3), VisiPruner(2, 0.85, 0.3, 0.97, exit_patience=1)]
methods = pytest.mark.parametrize("method", METHODS, ids=str)


def drop_equals_mask(model: Any, whole: PreTrainedModel, method: Method) -> None:
    """Text logits are those of the dropped keys masked, the answer is that without a cache; then all is as before.

    Args:
        model: what the user has.
        whole: the model of transformers in it.
    """
    inputs = batch_of(prompts())
    settings: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False}
    with torch.no_grad():
        before = model(**inputs).logits
        with prune(model, method) as trace:
            pruned = model(**inputs).logits
            dropped = {
                stage.layer: [
                    sorted(set(image_columns(inputs, sample)) - set(kept.tolist()))
                    for sample, kept in enumerate(stage.kept)
                ]
                for stage in trace.stages
            }
            cached = model.generate(**inputs, **settings)
        with prune(model, Keep.of(trace, method)):
            uncached = model.generate(**inputs, **settings, use_cache=False)
        assert any(any(samples) for samples in dropped.values())
        with masked_from(whole, dropped, inputs, method.blocks()):
            masked = model(**inputs).logits
        after = model(**inputs).logits
    text = inputs["attention_mask"].bool() & (inputs["input_ids"] != whole.config.image_token_id)
    exact = whole.dtype == torch.float64  # torchao's int8 weights know no fp64: there as it has always been
    torch.testing.assert_close(pruned[text], masked[text], **(EXACTLY if exact else {"rtol": 1e-4, "atol": 1e-5}))
    assert torch.equal(cached, uncached)
    assert torch.equal(after, before)


@pytest.fixture(scope="module")
def quantised() -> PreTrainedModel:
    """Weights in int8, one scale per row, as torchao keeps them."""
    quantization = pytest.importorskip("torchao.quantization")
    model = tiny_llava(2)
    quantization.quantize_(model.model.language_model, quantization.Int8WeightOnlyConfig())
    weight = model.model.language_model.layers[0].self_attn.q_proj.weight
    assert type(weight).__module__.startswith("torchao")
    return model


@pytest.mark.slow
@methods
def test_int8_weights(quantised: PreTrainedModel, method: Method) -> None:
    drop_equals_mask(quantised, quantised, method)


@pytest.fixture(scope="module")
def adapter() -> Any:
    """A LoRA adapter on queries, values and W_O that is not idle."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=4, target_modules=r".*language_model.*\.(q_proj|v_proj|o_proj)", init_lora_weights=False)
    torch.manual_seed(5)
    return peft.get_peft_model(tiny_llava(2, dtype=torch.float64), config).eval()


@methods
def test_a_lora_adapter(adapter: Any, method: Method) -> None:
    whole = adapter.get_base_model()
    drop_equals_mask(adapter, whole, method)
    inputs = batch_of(prompts())
    with prune(adapter, method), torch.no_grad():
        adapted = adapter(**inputs).logits
        with adapter.disable_adapter():
            assert not torch.allclose(adapter(**inputs).logits, adapted)  # the adapter is at work
    assert not vars(whole).get("generate")
