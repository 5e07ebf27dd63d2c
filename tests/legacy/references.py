"""The two original systems in plain torch, on their original weight names: from their descriptions, not our modules."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.legacy.originals import MOBILEVLM_CONFIG, QWEN_CONFIG, TINY_TOWER, Weights


def mobilevlm_projector(weights: Weights, patches: Tensor) -> Tensor:
    """LDPv2: ``[pictures, 576, vision width]`` to ``[pictures, 144, text width]``."""
    name = "model.mm_projector."
    x = linear(weights, name + "mlp.mlp.2", F.gelu(linear(weights, name + "mlp.mlp.0", patches)))
    pictures, _, width = x.shape
    pooled = x.reshape(pictures, 12, 2, 12, 2, width).mean(dim=(2, 4))  # [pictures, rows, columns, width]
    kernel, bias = weights[name + "peg.peg.0.weight"], weights[name + "peg.peg.0.bias"]
    padded = F.pad(pooled, (0, 0, 1, 1, 1, 1))
    around = sum(
        padded[:, row : row + 12, column : column + 12] * kernel[:, 0, row, column]
        for row in range(3)
        for column in range(3)
    )
    return (pooled + around + bias).flatten(1, 2)


def mobilevlm_tower(weights: Weights, pixels: Tensor) -> Tensor:
    """CLIP's patches before its last layer, ``[pictures, 576, vision width]``."""
    name = "model.vision_tower.vision_tower.vision_model."
    patches = F.conv2d(pixels, weights[name + "embeddings.patch_embedding.weight"], stride=14).flatten(2).mT
    first = weights[name + "embeddings.class_embedding"].expand(len(pixels), 1, -1)
    x = torch.cat([first, patches], dim=1) + weights[name + "embeddings.position_embedding.weight"]
    x = layer_norm(weights, name + "pre_layrnorm", x, 1e-5)
    for n in range(TINY_TOWER["num_hidden_layers"] - 1):
        layer = f"{name}encoder.layers.{n}."
        y = layer_norm(weights, layer + "layer_norm1", x, 1e-5)
        q, k, v = (split(linear(weights, f"{layer}self_attn.{part}_proj", y), 2) for part in "qkv")
        x = x + linear(weights, layer + "self_attn.out_proj", attend(q, k, v))
        y = linear(weights, layer + "mlp.fc1", layer_norm(weights, layer + "layer_norm2", x, 1e-5))
        x = x + linear(weights, layer + "mlp.fc2", y * torch.sigmoid(1.702 * y))
    return x[:, 1:]


def mobilevlm_logits(weights: Weights, ids: Tensor, images: Tensor, image_token: int) -> Tensor:
    """Of one sample ``[tokens]``; the rows of `image_token` are `images` ``[image tokens, width]``."""
    x = weights["model.embed_tokens.weight"][ids].clone()
    x[ids == image_token] = images
    heads = MOBILEVLM_CONFIG["num_attention_heads"]
    for n in range(MOBILEVLM_CONFIG["num_hidden_layers"]):
        layer = f"model.layers.{n}."
        y = rms_norm(weights, layer + "input_layernorm", x)
        q, k, v = (split(linear(weights, f"{layer}self_attn.{part}_proj", y), heads) for part in "qkv")
        x = x + linear(weights, layer + "self_attn.o_proj", attend(rotated(q), rotated(k), v, causal=True))
        y = rms_norm(weights, layer + "post_attention_layernorm", x)
        gate, up = linear(weights, layer + "mlp.gate_proj", y), linear(weights, layer + "mlp.up_proj", y)
        x = x + linear(weights, layer + "mlp.down_proj", F.silu(gate) * up)
    return linear(weights, "lm_head", rms_norm(weights, "model.norm", x))


def qwen_features(weights: Weights, pixels: Tensor) -> Tensor:
    """Tower and resampler: ``[pictures, 3, 448, 448]`` to ``[pictures, 256, text width]``."""
    name = "transformer.visual."
    patches = F.conv2d(pixels, weights[name + "conv1.weight"], stride=14).flatten(2).mT
    x = layer_norm(weights, name + "ln_pre", patches + stretched(weights[name + "positional_embedding"]), 1e-6)
    visual: dict[str, Any] = QWEN_CONFIG["visual"]
    for n in range(visual["layers"]):
        layer = f"{name}transformer.resblocks.{n}."
        fused = linear(weights, layer + "attn.in_proj", layer_norm(weights, layer + "ln_1", x, 1e-6))
        of_heads = fused.unflatten(2, (visual["heads"], -1)).transpose(1, 2)  # each head has its query, key and value
        x = x + linear(weights, layer + "attn.out_proj", attend(*of_heads.chunk(3, dim=3)))
        y = F.gelu(linear(weights, layer + "mlp.c_fc", layer_norm(weights, layer + "ln_2", x, 1e-6)))
        x = x + linear(weights, layer + "mlp.c_proj", y)
    return _resampled(weights, x)


def _resampled(weights: Weights, patches: Tensor) -> Tensor:
    name = "transformer.visual.attn_pool."
    value = layer_norm(weights, name + "ln_kv", linear(weights, name + "kv_proj", patches), 1e-6)
    key = value + stretched(weights[name + "pos_embed"])
    query = layer_norm(weights, name + "ln_q", weights[name + "query"], 1e-6) + weights[name + "pos_embed"]
    projected = [
        F.linear(x, weight, bias)
        for x, weight, bias in zip(
            (query.expand(len(patches), -1, -1), key, value),
            weights[name + "attn.in_proj_weight"].chunk(3),
            weights[name + "attn.in_proj_bias"].chunk(3),
            strict=True,
        )
    ]
    read = linear(weights, name + "attn.out_proj", attend(*(split(part, 2) for part in projected)))  # heads of 128
    return layer_norm(weights, "transformer.visual.ln_post", read, 1e-6) @ weights["transformer.visual.proj"]


def qwen_logits(weights: Weights, ids: Tensor, images: Tensor, image_token: int) -> Tensor:
    """Of one sample ``[tokens]``, up to 2,048 of them."""
    x = weights["transformer.wte.weight"][ids].clone()
    x[ids == image_token] = images
    heads = QWEN_CONFIG["num_attention_heads"]
    for n in range(QWEN_CONFIG["num_hidden_layers"]):
        layer = f"transformer.h.{n}."
        fused = linear(weights, layer + "attn.c_attn", rms_norm(weights, layer + "ln_1", x))
        q, k, v = (split(part, heads) for part in fused.chunk(3, dim=1))
        x = x + linear(weights, layer + "attn.c_proj", attend(rotated(q), rotated(k), v, causal=True))
        y = rms_norm(weights, layer + "ln_2", x)
        y = linear(weights, layer + "mlp.w1", y) * F.silu(linear(weights, layer + "mlp.w2", y))
        x = x + linear(weights, layer + "mlp.c_proj", y)
    return linear(weights, "lm_head", rms_norm(weights, "transformer.ln_f", x))


def linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    """With a bias where there is one."""
    return F.linear(x, weights[name + ".weight"], weights.get(name + ".bias"))


def layer_norm(weights: Weights, name: str, x: Tensor, eps: float) -> Tensor:
    """Over the last dimension."""
    return F.layer_norm(x, x.shape[-1:], weights[name + ".weight"], weights[name + ".bias"], eps)


def rms_norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    """Over the last dimension."""
    return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * weights[name + ".weight"]


def split(x: Tensor, heads: int) -> Tensor:
    """``[..., tokens, width]`` to ``[..., heads, tokens, width of a head]``."""
    return x.unflatten(-1, (heads, -1)).transpose(-2, -3)


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> Tensor:
    """``[..., heads, tokens, width of a head]`` to ``[..., tokens, width]``."""
    scores = q @ k.mT * q.shape[-1] ** -0.5
    if causal:
        scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf)
    return (scores.softmax(-1) @ v).transpose(-2, -3).flatten(-2)


def rotated(x: Tensor) -> Tensor:
    """Rotary positions of base 10000 over ``[heads, tokens, width]``, one half of the width with the other.

    The frequencies are fp32, as the original has them.
    """
    half = x.shape[-1] // 2
    angles = torch.arange(x.shape[-2])[:, None] * (1 / 10000 ** (torch.arange(half) / half)).to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat(
        [first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin()], dim=-1
    )


def stretched(positions: Tensor) -> Tensor:
    """16 x 16 positions on the 32 x 32 patches, bicubic, in fp32, as the original does it."""
    grid = positions.float().reshape(1, 16, 16, -1).permute(0, 3, 1, 2)
    larger = F.interpolate(grid, size=(32, 32), mode="bicubic", align_corners=False)
    return larger.permute(0, 2, 3, 1).reshape(1024, -1).to(positions.dtype)
