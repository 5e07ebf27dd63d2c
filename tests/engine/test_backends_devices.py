"""Layers on different devices, as `device_map` puts them: here the CPU and one that computes shapes only."""

import pytest
import torch

from tests.matrix import prompts
from tests.tiny import batch_of, tiny_llava
from visionflow import VTW, FastV, HiMAP, Method, RandomPruning, prune

accelerate = pytest.importorskip("accelerate")


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(
    "method",
    [
        HiMAP(1, 0.5, 2, 0.75),
        FastV(3, 0.5),
        VTW(2),
        RandomPruning(3, 0.5),
    ],
    ids=str,
)
def test_the_second_half_on_another_device(method: Method, attention: str, side: str) -> None:
    """Masks, positions and indices follow the hidden states; mixing devices in one operation would raise."""
    model, inputs = tiny_llava(2, attention), batch_of(prompts(), side)
    with prune(model, method) as expected, torch.no_grad():
        model(**inputs)
    text = model.model.language_model
    for module in (*text.layers[3:], text.norm, model.lm_head):
        accelerate.hooks.add_hook_to_module(
            module.to("meta"), accelerate.hooks.AlignDevicesHook(execution_device="meta", io_same_device=False)
        )
    with prune(model, method) as trace, torch.no_grad():
        logits = model(**inputs).logits
    assert logits.device.type == "meta"
    assert logits.shape == (*inputs["input_ids"].shape, 128)
    assert torch.equal(trace.image_tokens, expected.image_tokens)
    for stage, wanted in zip(trace.stages, expected.stages, strict=True):
        assert [kept.tolist() for kept in stage.kept] == [kept.tolist() for kept in wanted.kept]
