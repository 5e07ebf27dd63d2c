"""Real shapes with random weights, no download: how fast a model runs does not depend on what it has learnt."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from transformers import (
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2_5_VLConfig,
)
from transformers.initialization import no_init_weights

from visionflow.engines.hf.families import family_of_config
from visionflow.errors import VisionFlowError

_POOL = 1_000_003  # random numbers made; a prime, so that rows of a matrix differ
_SPREAD = 0.02  # standard deviation of the weights, as models are initialised


def _llava(layers: int, width: int, inner: int, heads: int, kv_heads: int) -> LlavaConfig:
    """LLaVA-1.5 around a Llama: CLIP ViT-L/14 at 336 pixels, 576 tokens a picture, Vicuna's vocabulary."""
    text = LlamaConfig(
        vocab_size=32064,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=4096,
        rms_norm_eps=1e-5,
    )
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
        projection_dim=768,
    )
    return LlavaConfig(text_config=text, vision_config=vision, image_token_id=32000, image_seq_length=576)


def _qwen(layers: int) -> Qwen2_5_VLConfig:
    """Qwen2.5-VL-7B, as its published configuration has it."""
    text = {
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": layers,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "max_position_embeddings": 128000,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    }
    vision = {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 3584,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
    }
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision)


# Name: decoder layers, and what makes the configuration with as many layers as asked for.
SHAPES: dict[str, tuple[int, Callable[[int], PreTrainedConfig]]] = {
    "llava-1b": (22, partial(_llava, width=2048, inner=5632, heads=32, kv_heads=4)),
    "llava-1.5-7b": (32, partial(_llava, width=4096, inner=11008, heads=32, kv_heads=32)),
    "llava-1.5-13b": (40, partial(_llava, width=5120, inner=13824, heads=40, kv_heads=40)),
    "qwen2.5-vl-7b": (28, _qwen),
}


def shape_config(name: str, layers: int | None = None) -> PreTrainedConfig:
    """The configuration of the shape called `name`, with the first `layers` of its decoder layers.

    Raises:
        VisionFlowError: the shape has fewer layers.
        UnsupportedModelError: models of this family cannot be pruned yet.
    """
    depth, make = SHAPES[name]
    if layers is not None and not 1 <= layers <= depth:
        raise VisionFlowError(f"{name} has {depth} decoder layers: --layers must be 1 to {depth}, not {layers}")
    config = make(layers or depth)
    family_of_config(config)
    return config


def random_model(config: PreTrainedConfig, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """The stock model of `config` in eval mode, its weights filled at the speed of memory.

    Matrices repeat one pool of normal numbers, norms are one, biases zero: no NaN, no denormals.

    Raises:
        VisionFlowError: it does not fit the memory of `device`.
    """
    try:
        with no_init_weights(), device:
            model: PreTrainedModel = AutoModelForImageTextToText.from_config(
                config, dtype=dtype, attn_implementation="sdpa"
            )
        _fill(model)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if "memory" not in str(error):
            raise
        raise VisionFlowError(f"the model does not fit the memory of {device}: give fewer --layers") from error
    return model.eval()


def weight_counts(config: PreTrainedConfig) -> tuple[int, int]:
    """Weights of one decoder layer, and of everything but the decoder layers; nothing is allocated."""
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    layers = family_of_config(config).layers_of(model)
    one = sum(weight.numel() for weight in layers[0].parameters())
    return one, sum(weight.numel() for weight in model.parameters()) - one * len(layers)


@torch.no_grad()
def _fill(model: PreTrainedModel) -> None:
    pool = torch.randn(_POOL, generator=torch.Generator().manual_seed(0)) * _SPREAD
    pool = pool.to(model.device, model.dtype)
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            _repeat(pool, weight.view(-1))
        else:
            weight.fill_(0.0 if name.endswith("bias") else 1.0)


def _repeat(pool: Tensor, weight: Tensor) -> None:
    for start in range(0, len(weight), len(pool)):
        part = weight[start : start + len(pool)]
        part.copy_(pool[: len(part)])
