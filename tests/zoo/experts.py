"""Mixtures of experts in the text model, and attention with compressed keys and values (MLA)."""

from tests.zoo.entry import AUDIO, END, IMAGE, START, VIDEO, Entry
from tests.zoo.parts import PIXTRAL, SLIDING, WINDOW, config, fixed, text
from tests.zoo.qwen_vl import pictures
from tests.zoo.tiles import SAM, rows

MLA = {
    "q_lora_rank": 16, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8,
    "num_key_value_heads": 4,
}  # fmt: skip
SWA = {
    "swa_num_attention_heads": 4, "swa_num_key_value_heads": 4, "swa_q_lora_rank": 16, "swa_kv_lora_rank": 8,
    "swa_head_dim": 8, "swa_qk_nope_head_dim": 4, "swa_v_head_dim": 8,
}  # fmt: skip
ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "n_shared_experts": 1}
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 4}
MUSE = VISION | {"pos_emb_height": 8, "pos_emb_width": 8, "max_position_embeddings": 64}

ENTRIES = [
    Entry(
        "kimi_k25",
        config(
            "kimi_k25",
            text_config=text("deepseek_v3", **MLA, **ROUTED, n_group=2, topk_group=1, first_k_dense_replace=2),
            vision_config=VISION | {"pos_emb_height": 8, "pos_emb_width": 8},
            projection_hidden_size=16,
            video_token_id=VIDEO,
            vision_start_token_id=START,
            vision_end_token_id=END,
        ),
        pictures("", 3, 4, 4),
    ),
    Entry(
        "llama4",
        config(
            "llama4",
            text_config=text(
                head_dim=8,
                intermediate_size_mlp=48,
                num_local_experts=4,
                interleave_moe_layer_step=2,
                attention_chunk_size=8,
                no_rope_layers=[1, 1, 0, 1, 1, 0],
            ),
            vision_config=VISION
            | {
                "image_size": 24,
                "vision_output_dim": 64,
                "projector_input_dim": 64,
                "projector_output_dim": 64,
                "intermediate_size": 64,
            },
        ),
        {"image": fixed(9, 3, 24, 24, before=(START,), after=(END,))},
    ),
    Entry(
        "muse_glimmer",
        config(
            "muse_glimmer",
            text_config=text(
                head_dim=8, sliding_window=WINDOW, layer_types=SLIDING, layer_rope_theta=[1e4, 1e4, 0] * 2
            ),
            vision_config=MUSE,
            out_hidden_size=64,
            projector_hidden_size=32,
            video_token_id=VIDEO,
        ),
        pictures("whole"),
    ),
    Entry(
        "muse_spark",
        config(
            "muse_spark",
            text_config=text(
                head_dim=8,
                sliding_window=WINDOW,
                layer_types=SLIDING,
                layer_rope_theta=[1e4, 1e4, 0] * 2,
                moe_intermediate_size=24,
                num_local_experts=4,
                num_experts_per_tok=2,
                moe_hidden_size=32,
                mlp_layer_types=["dense", "sparse"] * 3,
            ),
            vision_config=MUSE,
            out_hidden_size=64,
            projector_hidden_size=32,
            video_token_id=VIDEO,
            audio_config={
                "patch_sizes": [4, 2],
                "hidden_sizes": [8, 16],
                "depths": [1, 1],
                "num_hidden_layers": 2,
                "out_hidden_size": 32,
            },
        ),
        pictures("whole"),
    ),
    Entry(
        "step3p7",
        config(
            "step3p7",
            text_config=text(
                head_dim=8,
                sliding_window=WINDOW,
                layer_types=SLIDING,
                mlp_layer_types=["dense", "sparse"] * 3,
                moe_intermediate_size=24,
                num_local_experts=4,
                n_routed_experts=4,
                num_experts_per_tok=2,
                share_expert_dim=24,
                num_sliding_attention_heads=4,
            ),
            vision_config=VISION | {"image_size": 48, "max_position_embeddings": 256, "mlp_ratio": 2.0},
        ),
        {"image": fixed(9, 3, 48, 48, before=(START,), after=(END,))},
    ),
    Entry(
        "deepseek_ocr2",
        config(
            "deepseek_ocr2",
            text_config=text(**ROUTED, n_group=1, topk_group=1, mlp_layer_types=["dense"] * 2 + ["sparse"] * 4),
            vision_config={
                "sam_config": SAM | {"downsample_channels": [16, 16]},
                "encoder_config": {
                    "hidden_size": 16,
                    "intermediate_size": 32,
                    "num_hidden_layers": 1,
                    "num_attention_heads": 2,
                    "num_key_value_heads": 1,
                },
            },
        ),
        {"image": fixed(145, 3, 64, 64)},
    ),
    Entry(
        "unlimited_ocr",
        config(
            "unlimited_ocr",
            text_config=text(
                num_key_value_heads=4,
                **ROUTED,
                n_group=1,
                topk_group=1,
                mlp_layer_types=["dense"] * 2 + ["sparse"] * 4,
                sliding_window=4,
            ),
            vision_config={
                "sam_config": SAM | {"downsample_channels": [16, 16]},
                "encoder_config": {
                    "hidden_size": 16,
                    "intermediate_size": 32,
                    "num_hidden_layers": 1,
                    "num_attention_heads": 2,
                    "image_size": 16,
                    "patch_size": 4,
                },
            },
        ),
        {"image": fixed(21, 3, 64, 64)},
    ),
    Entry(
        "dots3_note",
        config(
            "dots3_note",
            text_config=text(
                **MLA,
                **ROUTED,
                n_group=1,
                topk_group=1,
                head_dim=8,
                index_topk=16,
                index_head_dim=8,
                index_n_heads=16,
                sliding_window=WINDOW,
                **SWA,
                shared_experts_intermediate_size=24,
            ),
            vision_config=VISION
            | {
                "adapter_in_dim": 16,
                "adapter_out_dim": 32,
                "moe_intermediate_size": 16,
                "num_local_experts": 2,
                "num_experts_per_tok": 1,
                "mlp_layer_types": ["dense", "sparse"],
            },
            audio_config={
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "downsample_hidden_size": 8,
                "adapter_input_size": 16,
                "adapter_out_dim": 32,
            },
            video_token_id=VIDEO,
            audio_token_id=AUDIO,
        ),
        pictures("whole", 48),
    ),
    Entry(
        "mistral_large4",
        config(
            "mistral_large4",
            text_config=text(
                **{k: v for k, v in MLA.items() if k != "q_lora_rank"},
                **ROUTED,
                n_group=1,
                topk_group=1,
                head_dim=4,
                index_topk=16,
                index_head_dim=8,
                index_n_heads=16,
            ),
            vision_config=PIXTRAL,
            spatial_merge_size=2,
            image_token_index=IMAGE,
        ),
        {"image": rows(3, 3, (24, 24)), "wide": rows(2, 4, (16, 32))},
    ),
]
