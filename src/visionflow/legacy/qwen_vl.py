"""Qwen-VL-Chat (Bai et al., arXiv:2308.12966): a stock LLaVA around a Qwen2, with a tower and a resampler of its own.

The first Qwen is a Qwen2 up to 2,048 positions; beyond, it changes its RoPE base and scales its queries (dynamic NTK,
logn), which no stock model does: longer sequences are refused.
"""

from math import isqrt
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from transformers import CLIPVisionModel, GenerationConfig, LlavaConfig

from visionflow.engines.hf.caches import cache_of
from visionflow.errors import UnsupportedModelError, UnsupportedUsageError
from visionflow.legacy.checkpoint import OriginalLlava, check_fields
from visionflow.legacy.qwen_vl_prompt import GRID, special_id

QUERIES = GRID**2
RESAMPLER_HEAD = 128  # width of one head of the resampler


class QwenVLConfig(LlavaConfig):  # type: ignore[misc]
    """The configuration of a LLaVA, made from the original one where that is what is given."""

    model_type = "qwen"
    text_type: ClassVar[str] = "qwen2"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """From an original ``config.json``, or from one that this class has saved.

        Raises:
            UnsupportedModelError: it is a Qwen without vision, a quantised copy, or differs in what is computed.
        """
        saved = "text_config" in config_dict
        return super().from_dict(config_dict if saved else _translated(config_dict), **kwargs)


class PatchEmbedding(nn.Module):
    """Patches with learnt positions, as in CLIP, but without a class token."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.patch_embedding = nn.Conv2d(3, width, kernel_size=patch, stride=patch, bias=False)
        self.position_embedding = nn.Parameter(torch.randn(QUERIES, width) * width**-0.5)

    def forward(self, pixels: Tensor, interpolate_pos_encoding: bool = False) -> Tensor:
        """From ``[pictures, 3, height, width]`` to ``[pictures, patches, vision width]``."""
        patches: Tensor = self.patch_embedding(pixels.to(self.patch_embedding.weight.dtype))
        patches = patches.flatten(2).transpose(1, 2)
        return patches + resized(self.position_embedding, patches.shape[1])


class Resampler(nn.Module):
    """256 learnt queries read the patches of a picture once; then a norm and a linear map into the text's space."""

    def __init__(self, config: QwenVLConfig) -> None:
        super().__init__()
        width, eps = config.text_config.hidden_size, config.vision_config.layer_norm_eps
        self.query = nn.Parameter(torch.randn(QUERIES, width) * 0.02)
        self.pos_embed = nn.Parameter(torch.zeros(QUERIES, width), requires_grad=False)  # in the checkpoint
        self.kv_proj = nn.Linear(config.vision_config.hidden_size, width, bias=False)
        self.attn = nn.MultiheadAttention(width, width // RESAMPLER_HEAD, batch_first=True)
        self.ln_q = nn.LayerNorm(width, eps)
        self.ln_kv = nn.LayerNorm(width, eps)
        self.ln_post = nn.LayerNorm(width, eps)
        self.proj = nn.Parameter(torch.randn(width, width) * width**-0.5)

    def forward(self, patches: Tensor) -> Tensor:
        """From ``[pictures, patches, vision width]`` to ``[pictures, 256, text width]``."""
        value = self.ln_kv(self.kv_proj(patches))
        key = value + resized(self.pos_embed, patches.shape[1])
        query = (self.ln_q(self.query) + self.pos_embed).expand(len(patches), -1, -1)
        read = self.attn(query, key, value, need_weights=False)[0]
        tokens: Tensor = self.ln_post(read) @ self.proj
        return tokens


class QwenVLTower(CLIPVisionModel):  # type: ignore[misc]
    """The vision tower: CLIP's layers on patches alone."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.embeddings = PatchEmbedding(config)
        self.post_layernorm = nn.Identity()  # the original has none; what it would normalise is not used
        self.post_init()


class QwenVL(OriginalLlava):
    """Qwen-VL-Chat; `config` is a `QwenVLConfig`. Greedy by default, and it stops where the original chat stops."""

    config_class = QwenVLConfig

    def __init__(self, config: QwenVLConfig) -> None:
        super().__init__(config)
        self.model.vision_tower = QwenVLTower(config.vision_config)
        self.model.multi_modal_projector = Resampler(config)
        self.model.language_model.register_forward_pre_hook(_check_sequence, with_kwargs=True)
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """See `OriginalLlava.from_pretrained`."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        # The original generation_config.json samples, and leaves two of the three stops to the original chat function.
        text = model.config.text_config
        model.generation_config = GenerationConfig(eos_token_id=text.eos_token_id, pad_token_id=text.pad_token_id)
        return loaded

    def _validate_generated_length(self, generation_config: Any, *args: Any) -> None:
        # Before the first token; `_check_sequence` would find out after some.
        _check_length(generation_config.max_length, self.config.text_config)
        super()._validate_generated_length(generation_config, *args)


def resized(positions: Tensor, count: int) -> Tensor:
    """A square grid of positions ``[n, width]`` as one of `count` positions; in fp32, as the original does it."""
    if len(positions) == count:
        return positions
    side, target = isqrt(len(positions)), isqrt(count)
    grid = positions.float().T.reshape(1, -1, side, side)
    grid = interpolate(grid, size=(target, target), mode="bicubic", align_corners=False)
    return grid[0].flatten(1).T.to(positions.dtype)


def _check_sequence(text_model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    tokens = next(given for given in (kwargs.get("inputs_embeds"), kwargs.get("input_ids"), *args) if given is not None)
    cache = cache_of(kwargs)
    _check_length(tokens.shape[1] + (cache.get_seq_length() if cache is not None else 0), text_model.config)


def _check_length(length: int, text_config: Any) -> None:
    positions = text_config.max_position_embeddings
    if length > positions:
        raise UnsupportedUsageError(
            f"prompt and answer take {length} positions, and beyond {positions} Qwen-VL computes in a way that is not "
            "supported: show fewer pictures (258 positions each), ask a shorter question, or lower max_new_tokens"
        )


def _translated(original: dict[str, Any]) -> dict[str, Any]:
    visual = original.get("visual")
    if visual is None:
        raise UnsupportedModelError("this Qwen has no vision tower: use Qwen/Qwen-VL-Chat")
    width, heads = original["hidden_size"], original["num_attention_heads"]
    text_fields = {
        "no_bias": True,
        "kv_channels": width // heads,
        "rotary_pct": 1.0,
        "scale_attn_weights": True,
        "tie_word_embeddings": False,
        "quantization_config": None,  # GPTQ copies have other weights, biases among them that the original has not
    }
    check_fields(original, text_fields, "use the released Qwen/Qwen-VL-Chat")
    check_fields(visual, {"output_dim": width, "n_queries": QUERIES}, "use the released Qwen/Qwen-VL-Chat")
    tokens = ("<|endoftext|>", "<|im_end|>", "<|im_start|>", "<imgpad>")
    *stops, image = (special_id(token, visual["image_start_id"]) for token in tokens)
    return {
        "text_config": {
            "model_type": "qwen2",
            "vocab_size": original["vocab_size"],
            "hidden_size": width,
            "intermediate_size": original["intermediate_size"] // 2,  # the original halves it: two branches
            "num_hidden_layers": original["num_hidden_layers"],
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "rms_norm_eps": original["layer_norm_epsilon"],
            "rope_theta": original["rotary_emb_base"],
            "max_position_embeddings": original["seq_length"],
            "eos_token_id": stops,
            "pad_token_id": stops[0],
        },
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": visual["width"],
            "intermediate_size": int(visual["width"] * visual["mlp_ratio"]),
            "num_hidden_layers": visual["layers"],
            "num_attention_heads": visual["heads"],
            "image_size": visual["image_size"],
            "patch_size": visual["patch_size"],
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-6,
        },
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
        "image_token_index": image,
        "image_seq_length": QUERIES,
        "dtype": original.get("torch_dtype"),
    }
