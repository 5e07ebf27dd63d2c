"""What tests of several analyses ask of all of them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.matrix import FAMILIES, model_of

sides = pytest.mark.parametrize("side", ["left", "right"])


def last_columns(inputs: dict[str, Any]) -> list[int]:
    """The column of each sample's last prompt token."""
    return [int(torch.nonzero(mask).max()) for mask in inputs["attention_mask"]]


def eager_attentions(model: PreTrainedModel, inputs: dict[str, Any]) -> Tensor:
    """fp32 ``[layers, batch, rows, keys]``, mean over heads: what the same model gives with eager attention."""
    kv_heads = model.config.text_config.num_key_value_heads
    eager = model_of(next(name for name, heads in FAMILIES.items() if heads == kv_heads), "eager")
    with torch.no_grad():
        attentions = eager(**inputs, output_attentions=True, use_cache=False).attentions
    return torch.stack(attentions).mean(2).float()


def assert_untouched(model: PreTrainedModel, inputs: dict[str, Any], act: Callable[[], Any]) -> None:
    """`act` leaves no hook and no bit of the model's outputs behind."""
    with torch.no_grad():
        before = model(**inputs).logits
        hooks = _hooks(model)
        act()
        assert _hooks(model) == hooks
        assert "generate" not in vars(model)
        assert torch.equal(model(**inputs).logits, before)


def _hooks(model: PreTrainedModel) -> list[tuple[int, int, str | None]]:
    """Of each module: how many hooks it has, and the attention that its config names."""
    return [
        (
            len(module._forward_pre_hooks),
            len(module._forward_hooks),
            getattr(getattr(module, "config", None), "_attn_implementation", None),
        )
        for module in model.modules()
    ]
