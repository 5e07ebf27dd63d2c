"""The logit lens ends with what the model itself says next, whatever its class does behind the head."""

from typing import Any

import pytest
import torch
from torch import nn

from tests.flow.checks import last_columns, sides
from tests.matrix import quick_or_slow
from tests.zoo import ZOO
from tests.zoo.entry import VOCABULARY
from tests.zoo.matrix import ROWS
from tests.zoo.oracles import logits_of, model_of, prompts_of
from tests.zoo.quick import shared_out
from visionflow import UnsupportedModelError
from visionflow.engines.hf.families import FAMILIES
from visionflow.flow import logit_lens, value_output_lens

CAPPED = {"final_logit_softcapping": 0.1, "logits_scaling": 4.0}


@sides
@pytest.mark.parametrize("name", shared_out(name for name, entry in ROWS.items() if entry.model_type != "gemma3n"))
def test_the_last_depth_is_what_the_model_says(name: str, side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where logits are scaled, capped or masked, and where late layers run the last row alone in `generate`."""
    entry = ROWS[name]
    model = model_of(entry)
    text: Any = model.config.get_text_config()
    for setting in CAPPED.keys() & vars(text).keys():
        monkeypatch.setattr(text, setting, CAPPED[setting])
    inputs = entry.batch(prompts_of(entry)[: 2 if entry.batches else 1], side)
    lens, logits = logit_lens(model, inputs), logits_of(model, inputs)
    for sample, last in enumerate(last_columns(inputs)):
        own = logits[sample, last].softmax(-1)
        torch.testing.assert_close(lens.probabilities[sample, -1], own[lens.ids[sample, -1]], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(lens.probabilities[sample, -1], own.topk(5).values, rtol=1e-4, atol=1e-6)


def test_heads_are_read_through_it_too() -> None:
    """Here all logits become alike behind the head."""
    model, entry = model_of(ZOO["llava"]), ZOO["llava"]
    inputs = entry.batch([entry.prompt(3, "image", 6)])

    def level(module: nn.Module, args: Any, output: Any) -> None:
        output.logits = torch.zeros_like(output.logits)

    handle = model.register_forward_hook(level)
    found = [lens(model, inputs).probabilities for lens in (logit_lens, value_output_lens)]
    handle.remove()
    assert all((each == 1 / VOCABULARY).all() for each in found)


def test_several_hidden_states_of_a_token_are_refused() -> None:
    entry = ZOO["gemma3n"]
    assert FAMILIES["gemma3n"].token_axis == 2
    with pytest.raises(UnsupportedModelError, match="a gemma3n carries several hidden states of each token"):
        logit_lens(model_of(entry), entry.batch([entry.prompt(3, "image", 6)]))


@pytest.mark.parametrize(
    "name", quick_or_slow(["minicpm_ocr", "muse_glimmer", "muse_spark", "qwen3_5"], ["muse_glimmer"])
)
def test_a_value_says_nothing_where_each_number_is_gated(name: str) -> None:
    """A gate for a whole head, as Step's and LFM3's, alters its length alone, which the last norm takes away."""
    entry = ZOO[name]
    with pytest.raises(UnsupportedModelError, match=f"a {name} gates each number of a head after attention"):
        value_output_lens(model_of(entry), entry.batch([entry.prompt(3, "image", 6)]))
