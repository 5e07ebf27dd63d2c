"""M-RoPE: positions of three axes, pictures of any size as flattened patches with a grid of times, rows and columns."""

from typing import Any

import torch

from tests.zoo.entry import AUDIO, END, IMAGE, START, VIDEO, Entry, modality_columns
from tests.zoo.parts import SLIDING, WINDOW, config, gridded, text

MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
MARKS = {"vision_start_token_id": START, "vision_end_token_id": END, "video_token_id": VIDEO}
VISION = {
    "depth": 2,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_heads": 2,
    "patch_size": 4,
    "out_hidden_size": 32,
}
DEEPSTACK = VISION | {"depth": 3, "deepstack_visual_indexes": [0, 1, 2], "num_position_embeddings": 64}
WINDOWED = VISION | {"window_size": 16, "fullatt_block_indexes": [1]}

VIDEOS = {"name": "pixel_values_videos", "grid_name": "video_grid_thw"}


def pictures(video: str = "", *features: int, **of_video: Any) -> dict[str, Any]:
    """Two sizes of pictures and, where the class takes them, a video: in one piece, or by "frames"."""
    marks: dict[str, Any] = {"before": (START,), "after": (END,)}
    drawn = {"image": gridded((1, 6, 6), *features, **marks), "wide": gridded((1, 4, 8), *features, **marks)}
    if video:
        of_video = {"token": VIDEO, "frames": video == "frames"} | VIDEOS | marks | of_video
        drawn["video"] = gridded((2, 4, 4), *features, **of_video)
    return drawn


ENTRIES = [
    Entry(
        "qwen2_vl",
        config(
            "qwen2_vl",
            text_config=text(rope_parameters=MROPE),
            vision_config=VISION | {"embed_dim": 16, "hidden_size": 32},
            **MARKS,
        ),
        pictures("whole"),
        columns=modality_columns,
    ),
    Entry(
        "qwen2_5_vl",
        config("qwen2_5_vl", text_config=text(rope_parameters=MROPE), vision_config=WINDOWED, **MARKS),
        pictures("whole"),
        columns=modality_columns,
    ),
    Entry(
        "qwen3_vl",
        config("qwen3_vl", text_config=text(head_dim=8, rope_parameters=MROPE), vision_config=DEEPSTACK, **MARKS),
        pictures("frames"),
        columns=modality_columns,
    ),
    Entry(
        "qwen3_vl_moe",
        config(
            "qwen3_vl_moe",
            text_config=text(
                head_dim=8,
                rope_parameters=MROPE,
                num_experts=4,
                num_experts_per_tok=2,
                moe_intermediate_size=24,
                mlp_only_layers=[0, 3],
            ),
            vision_config=DEEPSTACK,
            **MARKS,
        ),
        pictures("frames"),
        columns=modality_columns,
    ),
    Entry(
        "qwen2_5_omni_thinker",
        config(
            "qwen2_5_omni_thinker",
            text_config=text(rope_parameters=MROPE),
            vision_config=WINDOWED,
            audio_config={
                "d_model": 16,
                "encoder_layers": 1,
                "encoder_attention_heads": 2,
                "encoder_ffn_dim": 32,
                "num_mel_bins": 16,
                "output_dim": 32,
                "n_window": 4,
            },
            image_token_index=IMAGE,
            video_token_index=VIDEO,
            audio_token_index=AUDIO,
            vision_start_token_id=START,
        ),
        pictures("whole", video_second_per_grid=torch.tensor([1.0])),
    ),
    Entry(
        "qwen3_omni_moe_thinker",
        config(
            "qwen3_omni_moe_thinker",
            text_config=text(
                head_dim=8,
                rope_parameters=MROPE,
                num_experts=4,
                num_experts_per_tok=2,
                moe_intermediate_size=24,
                mlp_only_layers=[0, 3],
            ),
            vision_config=DEEPSTACK,
            audio_config={
                "d_model": 16,
                "encoder_layers": 1,
                "encoder_attention_heads": 2,
                "encoder_ffn_dim": 32,
                "num_mel_bins": 16,
                "output_dim": 32,
                "n_window": 4,
                "downsample_hidden_size": 8,
            },
            **MARKS,
            audio_token_id=AUDIO,
        ),
        pictures("whole", video_second_per_grid=torch.tensor([1.0])),
    ),
    Entry(
        "exaone4_5",
        config(
            "exaone4_5",
            text_config=text("exaone4", sliding_window=WINDOW, layer_types=SLIDING),
            vision_config=WINDOWED | {"num_key_value_heads": 1},
            video_token_id=VIDEO,
        ),
        pictures("whole"),
    ),
    Entry(
        "hyperclovax_vision_v2",
        config(
            "hyperclovax_vision_v2",
            text_config=text("hyperclovax"),
            vision_config=WINDOWED | {"model_type": "qwen2_5_vl_vision"},
            video_token_id=VIDEO,
        ),
        pictures("whole"),
    ),
    Entry(
        "cosmos3_edge",
        config(
            "cosmos3_edge",
            text_config=text(head_dim=8, rope_parameters=MROPE),
            vision_config={
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "patch_size": 4,
                "num_patches": 64,
            },
            projector_hidden_size=32,
            **MARKS,
        ),
        pictures("frames", 48),
        columns=modality_columns,
    ),
    Entry(
        "cosmos3_omni",
        config(
            "cosmos3_omni",
            text_config=text("qwen3_vl_text", head_dim=8, rope_parameters=MROPE),
            vision_config=DEEPSTACK | {"model_type": "qwen3_vl_vision"},
            **MARKS,
        ),
        pictures("frames"),
        columns=modality_columns,
    ),
    Entry(
        "cohere_compass",
        config(
            "cohere_compass",
            text_config=text(
                rope_parameters={"full_attention": MROPE, "sliding_attention": MROPE},
                sliding_window=WINDOW,
                layer_types=SLIDING,
            ),
            vision_config=DEEPSTACK,
            **MARKS,
        ),
        pictures("frames"),
        columns=modality_columns,
    ),
    Entry(
        "video_llama_3",
        config(
            "video_llama_3",
            text_config=text("qwen2"),
            vision_config={
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "patch_size": 4,
            },
            video_token_id=VIDEO,
        ),
        {
            "image": gridded((1, 6, 6), 48, image_merge_sizes=torch.tensor([2])),
            "wide": gridded((1, 4, 8), 48, image_merge_sizes=torch.tensor([2])),
            "video": gridded(
                (2, 4, 4),
                48,
                name="pixel_values_videos",
                grid_name="video_grid_thw",
                token=VIDEO,
                video_merge_sizes=torch.tensor([2]),
                video_compression_mask=torch.ones(8, dtype=torch.bool),
            ),
        },
    ),
]
