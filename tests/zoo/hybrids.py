"""Text models in which some layers attend and others run a state over the tokens: a convolution, a recurrence."""

from typing import Any

import torch
from torch import Generator, Tensor

from tests.zoo.entry import (
    AUDIO,
    END,
    IMAGE,
    LAYERS,
    START,
    TEXT,
    VIDEO,
    Columns,
    Draw,
    Entry,
    Picture,
    modality_columns,
    no_columns,
)
from tests.zoo.parts import WINDOW, config, noise, text
from tests.zoo.qwen_vl import DEEPSTACK, MARKS, MROPE, pictures

LINEAR = ["linear_attention", "full_attention", "linear_attention"] * (LAYERS // 3)
"""Layers 1 and 4 attend, so that a look at attention is possible before layers 2 and 5."""

DELTA = {
    "head_dim": 8, "layer_types": LINEAR, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "linear_key_head_dim": 8, "linear_value_head_dim": 8, "rope_parameters": MROPE | {"partial_rotary_factor": 1.0},
}  # fmt: skip
QWEN_VISION = {name: value for name, value in DEEPSTACK.items() if name != "deepstack_visual_indexes"}
SIGLIP_2 = {
    "model_type": "siglip2_vision_model", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "patch_size": 4, "num_patches": 16, "vision_use_head": False,
}  # fmt: skip
MINICPM = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 4,
    "image_size": 32,
}  # fmt: skip


def packed(height: int, width: int, count: int, before: tuple[int, ...] = (), after: tuple[int, ...] = ()) -> Draw:
    """A picture as MiniCPM takes it: patches side by side, ``[1, 3, patch, patches * patch]``, and its grid."""

    def draw(generator: Generator) -> Picture:
        pixels = noise(generator, 1, 3, 4, height * width * 4)
        return Picture([*before, *[IMAGE] * count, *after], {
            "pixel_values": pixels, "target_sizes": torch.tensor([[height, width]], dtype=torch.int32),
        })  # fmt: skip

    return draw


def side_by_side(samples: list[list[Picture]]) -> dict[str, Tensor]:
    """All patches in one row."""
    tensors = [picture.tensors for sample in samples for picture in sample]
    return {
        "pixel_values": torch.cat([each["pixel_values"] for each in tensors], -1),
        "target_sizes": torch.cat([each["target_sizes"] for each in tensors]),
    }


def naflex(height: int, width: int) -> Draw:
    """A picture as SigLIP 2 takes it: 36 places for flattened patches, those that are real, and the grid."""

    def draw(generator: Generator) -> Picture:
        mask = torch.zeros(1, 36, dtype=torch.long)
        mask[:, : height * width] = 1
        return Picture([START, *[IMAGE] * (height * width // 4), END], {
            "pixel_values": noise(generator, 1, 36, 48) * mask.unsqueeze(2),
            "pixel_attention_mask": mask,
            "spatial_shapes": torch.tensor([[height, width]]),
        })  # fmt: skip

    return draw


def flat(height: int, width: int) -> Draw:
    """A picture as RADIO takes it: flattened patches and the grid."""

    def draw(generator: Generator) -> Picture:
        pixels = noise(generator, height * width, 48)
        grid = torch.tensor([[height, width]])
        return Picture([START, *[IMAGE] * (height * width // 4), END], {"pixel_values": pixels, "image_grid_hw": grid})

    return draw


def fixed_patches(count: int) -> Draw:
    """A picture as Inkling takes it: one token for each patch of pixels, ``[patches, frames, 4, 4, 3]``."""

    def draw(generator: Generator) -> Picture:
        return Picture([START, *[IMAGE] * count], {"pixel_values": noise(generator, count, 2, 4, 4, 3)})

    return draw


def minicpm(model_type: str, columns: Columns = no_columns, **more: Any) -> Entry:
    """One of the MiniCPM family."""
    marks = {"before": (START,), "after": (END,)}
    return Entry(
        model_type,
        config(
            model_type,
            text_config=text("qwen3_5_text", **DELTA),
            vision_config=MINICPM,
            insert_layer_id=0,
            downsample_mode="16x",
            video_token_id=VIDEO,
            **more,
        ),
        {"image": packed(12, 12, 9, **marks), "wide": packed(8, 16, 8, **marks)},
        columns=columns,
        join=side_by_side,
    )


ENTRIES = [
    Entry(
        "qwen3_5",
        config("qwen3_5", text_config=text(**DELTA), vision_config=QWEN_VISION, **MARKS),
        pictures("frames"),
        columns=modality_columns,
    ),
    Entry(
        "qwen3_5_moe",
        config(
            "qwen3_5_moe",
            text_config=text(
                **DELTA,
                num_experts=4,
                num_experts_per_tok=2,
                moe_intermediate_size=24,
                shared_expert_intermediate_size=24,
            ),
            vision_config=QWEN_VISION,
            **MARKS,
        ),
        pictures("frames"),
        columns=modality_columns,
    ),
    minicpm("minicpmv4_6"),
    minicpm(
        "minicpmv4_7",
        modality_columns,
        image_start_id=START,
        image_end_id=END,
        slice_start_id=91,
        slice_end_id=92,
        newline_id=94,
    ),
    minicpm("minicpm_ocr"),
    Entry(
        "lfm2_vl",
        config(
            "lfm2_vl",
            text_config=text(
                "lfm2",
                layer_types=[each.replace("linear_attention", "conv") for each in LINEAR],
                block_auto_adjust_ff_dim=False,
            ),
            vision_config=SIGLIP_2,
            projector_hidden_size=32,
        ),
        {"image": naflex(6, 6), "wide": naflex(4, 8)},
    ),
    Entry(
        "lfm3_vl",
        config(
            "lfm3_vl",
            text_config=text(
                "lfm3",
                head_dim=8,
                sliding_window=WINDOW,
                layer_types=["conv", "full_attention", "conv", "conv", "sliding_attention", "conv"],
            ),
            vision_config={
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "patch_size": 4,
                "layer_types": ["conv", "full_attention"],
            },
            projector_hidden_size=32,
            **MARKS,
        ),
        pictures("frames"),
    ),
    Entry(
        "nemotron_h_omni",
        config(
            "nemotron_h_omni",
            text_config={name: value for name, value in TEXT.items() if name != "num_hidden_layers"}
            | {
                "model_type": "nemotron_h",
                "tie_word_embeddings": False,
                "layer_types": [
                    "linear_attention",
                    "full_attention",
                    "moe",
                    "linear_attention",
                    "full_attention",
                    "mlp",
                ],
                "head_dim": 8,
                "mamba_num_heads": 4,
                "mamba_head_dim": 16,
                "ssm_state_size": 8,
                "n_groups": 2,
                "chunk_size": 16,
                "n_routed_experts": 4,
                "moe_intermediate_size": 24,
                "moe_shared_expert_intermediate_size": 24,
            },
            vision_config={
                "model_type": "radio",
                "hidden_size": 16,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "patch_size": 4,
                "image_size": 32,
                "max_img_size": 32,
                "video_temporal_patch_size": 2,
                "torch_dtype": "float32",
            },
            vision_hidden_size=16,
            projector_hidden_size=32,
            force_image_size=32,
        ),
        {
            "image": flat(6, 6),
            "wide": flat(4, 8),
        },
    ),
    Entry(
        "inkling_mm_model",
        config(
            "inkling_mm_model",
            text_config=text(
                head_dim=8,
                swa_num_attention_heads=4,
                swa_num_key_value_heads=2,
                swa_head_dim=8,
                sliding_window_size=WINDOW,
                d_rel=4,
                rel_extent=24,
                layer_types=["hybrid_sliding", "hybrid_sliding", "hybrid"] * (LAYERS // 3),
                mlp_layer_types=["dense", "sparse"] * (LAYERS // 2),
                moe_intermediate_size=24,
                n_routed_experts=4,
                num_experts_per_tok=2,
                n_shared_experts=1,
                logits_mup_width_multiplier=1.0,
            ),
            vision_config={"patch_size": 4, "temporal_patch_size": 2, "num_hidden_layers": 4, "hidden_size": 16},
            audio_config={"n_mel_bins": 4, "mel_vocab_size": 8},
            image_bos_token_id=START,
            audio_token_id=AUDIO,
        ),
        {"image": fixed_patches(9), "wide": fixed_patches(8)},
    ),
]
