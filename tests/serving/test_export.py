"""What is written for vLLM has the names that it looks for, and heads that compute the same."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from tests.tiny import tiny_llava
from tests.tiny_processor import tiny_processor
from tests.zoo import ZOO
from visionflow.checkpoint.load import load_embedded
from visionflow.errors import UnsupportedModelError
from visionflow.serving.export import begin_chats, export, fit_heads, rename_towers, turn_experts

HEADS, KV_HEADS, SIZE, WIDER = 4, 2, 8, 32


def test_towers_have_the_hubs_names_and_transformers_reads_them(tmp_path: Path) -> None:
    model = tiny_llava()
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    rename_towers(tmp_path)
    names = [name for file in tmp_path.glob("*.safetensors") for name in load_file(file)]
    towers = [name for name in names if "vision_tower." in name]
    assert towers
    assert all("vision_tower.vision_model." in name for name in towers)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_experts_have_the_hubs_axes_and_transformers_reads_them(tmp_path: Path) -> None:
    model = ZOO["qwen3_vl_moe"].build()
    model.save_pretrained(tmp_path)
    turn_experts(tmp_path)
    turned = load_file(tmp_path / "model.safetensors")
    text, layer = model.config.text_config, "model.language_model.layers.1.mlp.experts"
    assert turned[f"{layer}.gate_up_proj"].shape[1:] == (text.hidden_size, 2 * text.moe_intermediate_size)
    assert turned[f"{layer}.down_proj"].shape[1:] == (text.moe_intermediate_size, text.hidden_size)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_wider_heads_are_the_same_heads(tmp_path: Path) -> None:
    dense, model = (tiny_llava(KV_HEADS, dtype=torch.float64) for _ in range(2))
    export(model, tiny_processor(), tmp_path)
    states = torch.randn(5, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for before, after in zip(dense.model.language_model.layers, model.model.language_model.layers, strict=True):
        old, new = before.self_attn, after.self_attn
        for name, scale in (("q_proj", (WIDER / SIZE) ** 0.5), ("k_proj", 1.0), ("v_proj", 1.0)):
            narrow = getattr(old, name)(states).unflatten(1, (-1, SIZE))
            wide = getattr(new, name)(states).unflatten(1, (-1, WIDER))
            torch.testing.assert_close(wide[:, :, :SIZE], narrow * scale)
            assert not wide[:, :, SIZE:].any()
        read = torch.randn(5, HEADS, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        wide = torch.nn.functional.pad(read, (0, WIDER - SIZE))
        torch.testing.assert_close(new.o_proj(wide.flatten(1)), old.o_proj(read.flatten(1)))
    text = model.config.get_text_config()
    assert text.head_dim == WIDER
    assert text.rope_parameters["partial_rotary_factor"] == SIZE / WIDER


def test_heads_that_fit_stay_as_they_are() -> None:
    model = tiny_llava()
    model.config.text_config.head_dim = 64
    fit_heads(model)
    assert "partial_rotary_factor" not in model.config.text_config.rope_parameters


def test_heads_that_cannot_be_widened_are_refused() -> None:
    model = tiny_llava()
    model.config.text_config.model_type = "qwen2"
    with pytest.raises(UnsupportedModelError, match="heads of 8 in a qwen2 model"):
        fit_heads(model)


def test_a_chat_begins_as_transformers_begins_it(tmp_path: Path) -> None:
    """vLLM turns a rendered chat into tokens without those that the tokenizer adds."""
    tokenizer = load_embedded()[1].tokenizer
    template = tmp_path / "chat_template.jinja"
    template.write_text(tokenizer.chat_template or load_embedded()[1].chat_template)
    chat = [{"role": "user", "content": [{"type": "text", "text": "What is red?"}]}]
    given = tokenizer.apply_chat_template(chat, chat_template=template.read_text(), tokenize=False)
    begin_chats(tokenizer, template)
    begin_chats(tokenizer, template)  # once is enough
    made = tokenizer.apply_chat_template(chat, chat_template=template.read_text(), tokenize=False)
    assert tokenizer(made, add_special_tokens=False)["input_ids"] == tokenizer(given)["input_ids"]
    template.unlink()
    begin_chats(tokenizer, template)
    assert not template.exists()
