"""What a server is about to do is said in figures that the cost model gives."""

import re
from typing import Any

import pytest
from rich.console import Console
from transformers import LlavaConfig, Mistral3Config, OPTConfig, Qwen2_5_VLConfig

from visionflow import HiMAP
from visionflow.methods import parse
from visionflow.report.serve import Announcement

METHOD = HiMAP(2, 0.5, 8, 0.75)


def said(config: Any) -> str:
    """Its words in one line."""
    console = Console(width=200)
    with console.capture() as heard:
        Announcement.of("MODEL", config, parse(METHOD.spec)).show(console)
    return re.sub(r"\s+", " ", heard.get())


def test_tokens_layer_by_layer_and_what_a_prompt_costs() -> None:
    """LLaVA-1.5 7B: 60 tokens of text, 32 layers of 4096 and 11008."""
    config = LlavaConfig()
    text = config.text_config
    assert (text.num_hidden_layers, text.hidden_size, text.intermediate_size) == (32, 4096, 11008)
    told = said(config)
    assert "Of a picture's 576 image tokens, 288 from layer 2 on, 72 from layer 8 on." in told
    rows = [636] * 2 + [348] * 6 + [132] * 24
    layers = [2 * n * (4 * 4096**2 + 3 * 4096 * 11008) + 4 * n * n * 4096 for n in (636, *rows)]
    head = 2 * 4096 * text.vocab_size
    flops = (sum(layers[1:]) + head) / (32 * layers[0] + head)
    assert f"takes {100 * flops:.1f}% of the prefill's FLOPs" in told
    assert f"attend to {100 * sum(rows) / (32 * 636):.1f}% of its keys" in told


@pytest.mark.parametrize("config", [Qwen2_5_VLConfig(), Mistral3Config()], ids=["qwen2_5_vl", "mistral3"])
def test_where_pictures_differ_there_is_an_example(config: Any) -> None:
    told = said(config)
    assert "Of a prompt's, for example, 1000 image tokens, 500 from layer 2 on, 125 from layer 8 on." in told
    assert "of the prefill's FLOPs" in told


def test_where_the_cost_is_not_modelled_there_are_counts() -> None:
    narrow = OPTConfig(word_embed_proj_dim=512)  # half as wide as its hidden states are
    assert said(LlavaConfig(text_config=narrow)).endswith("125 from layer 8 on. ")
