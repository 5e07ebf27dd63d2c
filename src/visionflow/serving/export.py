"""A model as a checkpoint that vLLM loads, and reads the same prompts as transformers.

transformers 5 saves the towers of CLIP and SigLIP without the ``vision_model`` that the hub's checkpoints and vLLM have
in their names, and experts of Qwen3-VL-MoE with other axes first. vLLM's CPU kernels know few sizes of heads; they stay
the same heads with zeros behind. And vLLM puts no beginning-of-sequence token before a chat: where the tokenizer does,
the template has to.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from visionflow.errors import UnsupportedModelError

HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
"""What vLLM's attention on CPUs takes."""

_TOWER, _WHOLE = "vision_tower.", "vision_tower.vision_model."
_TOWERS = ("clip_vision_model", "siglip_vision_model")
_INSIDE = ("embeddings.", "encoder.", "pre_layrnorm.", "post_layernorm.", "head.")
"""What is directly in such a tower."""


def export(model: Any, processor: Any, folder: Path) -> None:
    """Write a model and its processor for vLLM; `folder` is made, and `model` is not the same afterwards.

    Raises:
        UnsupportedModelError: its heads have a size that vLLM does not take and that cannot be widened.
    """
    fit_heads(model)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    rename_towers(folder)
    turn_experts(folder)
    begin_chats(processor.tokenizer, folder / "chat_template.jinja")


def begin_chats(tokenizer: Any, template: Path) -> None:
    """Have a chat template begin with the token that the tokenizer puts before every text."""
    begins = tokenizer.bos_token is not None and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    if begins and template.exists():
        told = template.read_text(encoding="utf-8")
        if "bos_token" not in told and not told.startswith(tokenizer.bos_token):
            template.write_text(tokenizer.bos_token + told, encoding="utf-8")


def rename_towers(folder: Path) -> None:
    """Give the towers in a checkpoint that transformers 5 saved the names that the hub's have."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("vision_config", {}).get("model_type") not in _TOWERS:
        return
    for file in folder.glob("*.safetensors"):
        renamed = dict(_renamed(load_file(file)))
        save_file(renamed, file.with_suffix(".new"), {"format": "pt"})
        shutil.move(file.with_suffix(".new"), file)
    index = folder / "model.safetensors.index.json"
    if index.exists():
        content = json.loads(index.read_text(encoding="utf-8"))
        content["weight_map"] = dict(_renamed(content["weight_map"]))
        index.write_text(json.dumps(content, indent=2), encoding="utf-8")


def turn_experts(folder: Path) -> None:
    """Give experts of Qwen3-VL-MoE the hub's order of axes, ``[experts, in, out]``; transformers 5 has another."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config["model_type"] != "qwen3_vl_moe":
        return
    text = config["text_config"]
    outs = {"gate_up_proj": 2 * text["moe_intermediate_size"], "down_proj": text["hidden_size"]}
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        for name, tensor in tensors.items():
            if ".experts." in name and tensor.shape[1] == outs.get(name.rpartition(".")[2]):
                tensors[name] = tensor.transpose(1, 2).contiguous()
        save_file(tensors, file.with_suffix(".new"), {"format": "pt"})
        shutil.move(file.with_suffix(".new"), file)


def _renamed(named: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in named.items():
        before, found, part = name.partition(_TOWER)
        yield (before + _WHOLE + part if found and part.startswith(_INSIDE) else name), value


@torch.no_grad()
def fit_heads(model: Any) -> None:
    """Widen the decoder's heads to the next size that vLLM takes: zeros behind, which rotary positions leave alone.

    Queries are scaled, for the scores are divided by the square root of the new size. The model itself is of no use
    afterwards: transformers does not know rotary positions of a part of a Llama's heads, as vLLM does.
    """
    text = model.config.get_text_config()
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    if size in HEAD_SIZES:
        return
    wider = next((each for each in HEAD_SIZES if each > size), None)
    if text.model_type != "llama" or wider is None or text.attention_bias:
        raise UnsupportedModelError(f"heads of {size} in a {text.model_type} model cannot be made fit for vLLM")
    for layer in model.model.language_model.layers:
        attention = layer.self_attn
        for name in ("q_proj", "k_proj", "v_proj"):
            part = getattr(attention, name)
            part.weight = nn.Parameter(_widened(part.weight, size, wider))
        attention.q_proj.weight *= (wider / size) ** 0.5
        attention.o_proj.weight = nn.Parameter(_widened(attention.o_proj.weight.T, size, wider).T.contiguous())
    text.head_dim = wider
    text.rope_parameters = {**text.rope_parameters, "partial_rotary_factor": size / wider}


def _widened(weight: Tensor, size: int, wider: int) -> Tensor:
    """``[heads x size, width]`` with zeros behind each head: ``[heads x wider, width]``."""
    heads = weight.view(-1, size, weight.shape[1])
    return nn.functional.pad(heads, (0, 0, 0, wider - size)).flatten(0, 1)
