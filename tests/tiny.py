"""Small models of the real architectures with random weights, and prompts for them."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, PreTrainedModel

IMAGE_TOKEN = 99
PAD = 0
IMAGE_SIZE, PATCH = 20, 4
PER_IMAGE = (IMAGE_SIZE // PATCH) ** 2  # image tokens of one picture
LAYERS = 6


def tiny_llava(kv_heads: int = 4, attention: str = "sdpa", dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A LLaVA of 6 decoder layers; attention is sharpened so that scores differ between tokens."""
    torch.manual_seed(0)
    text = LlamaConfig(
        vocab_size=128, hidden_size=32, intermediate_size=48, num_hidden_layers=LAYERS, num_attention_heads=4,
        num_key_value_heads=kv_heads, max_position_embeddings=512, pad_token_id=PAD, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=IMAGE_SIZE,
        patch_size=PATCH, projection_dim=16,
    )  # fmt: skip
    config = LlavaConfig(text_config=text, vision_config=vision, image_token_id=IMAGE_TOKEN, image_seq_length=PER_IMAGE)
    config.eos_token_id = None
    model = LlavaForConditionalGeneration(config).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:
                scale = 3.0 if "q_proj" in name or "k_proj" in name else 0.1 if "lm_head" in name else 1.0
                weight.copy_(torch.randn(weight.shape, generator=generator) * scale / weight.shape[1] ** 0.5)
        model.lm_head.weight[IMAGE_TOKEN] = 0.0  # never the likeliest: an answer with it would ask for one more picture
    model.generation_config.pad_token_id = PAD
    model.generation_config.eos_token_id = None
    model.set_attn_implementation({"text_config": attention})
    return model.to(dtype)


@dataclass
class Prompt:
    """One sample: its ids (no padding) and its pictures."""

    ids: list[int]
    pictures: Tensor

    @property
    def inputs(self) -> dict[str, Any]:
        """Arguments of the model for this sample alone."""
        return batch_of([self])


def prompt(*parts: int | str, seed: int = 0) -> Prompt:
    """A prompt from text lengths and "image" marks: ``prompt(3, "image", 5)``."""
    generator = torch.Generator().manual_seed(seed)
    ids: list[int] = [1]
    images = 0
    for part in parts:
        if isinstance(part, str):
            ids += [IMAGE_TOKEN] * PER_IMAGE
            images += 1
        else:
            ids += torch.randint(3, IMAGE_TOKEN, (part,), generator=generator).tolist()
    return Prompt(ids, torch.randn(images, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator))


def batch_of(prompts: list[Prompt], side: str = "left") -> dict[str, Any]:
    """The padded batch, as a processor would give it."""
    width = max(len(p.ids) for p in prompts)
    ids = torch.full((len(prompts), width), PAD)
    mask = torch.zeros(len(prompts), width, dtype=torch.long)
    for row, p in enumerate(prompts):
        place = slice(width - len(p.ids), width) if side == "left" else slice(0, len(p.ids))
        ids[row, place] = torch.tensor(p.ids)
        mask[row, place] = 1
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    pictures = torch.cat([p.pictures for p in prompts])
    if len(pictures):
        inputs["pixel_values"] = pictures
    return inputs


def positions(inputs: dict[str, Any]) -> Tensor:
    """Position ids that do not count padding, as `generate` makes them."""
    return (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
