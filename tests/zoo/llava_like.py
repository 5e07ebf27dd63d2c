"""A vision tower, a projector, a plain text model: one placeholder per picture feature, positions of one axis."""

from typing import Any

import torch
from torch import Generator

from tests.zoo.entry import END, IMAGE, START, VIDEO, Draw, Entry, Picture
from tests.zoo.parts import CLIP, SIGLIP, SLIDING, WINDOW, config, fixed, noise, text

TILES = [[8, 16], [16, 8], [16, 16]]
SMALL = {"image_size": 8}


def _tiled(count: int, height: int, width: int) -> Draw:
    """Any-resolution tiling: a base view and up to four tiles of 2 x 2 patches, a newline feature after each row."""

    def draw(generator: Generator) -> Picture:
        pixels = noise(generator, 1, 5, 3, 8, 8)
        return Picture([IMAGE] * count, {"pixel_values": pixels, "image_sizes": torch.tensor([[height, width]])})

    return draw


def _paligemma(text_config: dict[str, Any], **more: Any) -> Entry:
    """PaliGemma: the prompt is a prefix, which is read both ways."""
    return Entry(
        "paligemma",
        config("paligemma", text_config=text_config, vision_config=SIGLIP, projection_dim=32, hidden_size=32),
        {"image": fixed(36, 3, 24, 24)},
        columns=lambda ids, generated: {"token_type_ids": generated.long()},
        **more,
    )


GEMMA_2 = text(
    "gemma2", head_dim=8, query_pre_attn_scalar=8, attn_logit_softcapping=2.0, sliding_window=WINDOW,
    layer_types=SLIDING,
)  # fmt: skip
PALIGEMMA_2 = _paligemma(
    GEMMA_2, attention="eager", note="PaliGemma 2: scores are capped, which sdpa cannot do; windows"
)

ENTRIES = [
    Entry(
        "llava",
        config("llava", text_config=text("llama"), vision_config=CLIP, image_seq_length=25),
        {"image": fixed(25, 3, 20, 20)},
    ),
    Entry(
        "vipllava",
        config("vipllava", text_config=text("llama"), vision_config=CLIP, vision_feature_layers=[-2, -1]),
        {"image": fixed(25, 3, 20, 20)},
    ),
    Entry(
        "llava_next",
        config("llava_next", text_config=text("mistral"), vision_config=CLIP | SMALL, image_grid_pinpoints=TILES),
        {"image": _tiled(24, 16, 16), "wide": _tiled(14, 8, 16)},
    ),
    Entry(
        "llava_next_video",
        config(
            "llava_next_video",
            text_config=text("llama"),
            vision_config=CLIP | SMALL,
            image_grid_pinpoints=TILES,
            video_token_id=VIDEO,
        ),
        {
            "image": _tiled(24, 16, 16),
            "wide": _tiled(14, 8, 16),
            "video": fixed(4, 4, 3, 8, 8, name="pixel_values_videos", token=VIDEO),
        },
    ),
    Entry(
        "llava_onevision",
        config(
            "llava_onevision",
            text_config=text("qwen2"),
            vision_config=SIGLIP | SMALL,
            image_grid_pinpoints=TILES,
            video_token_id=VIDEO,
        ),
        {
            "image": _tiled(24, 16, 16),
            "wide": _tiled(14, 8, 16),
            "video": fixed(5, 4, 3, 8, 8, name="pixel_values_videos", token=VIDEO),
        },
    ),
    Entry(
        "video_llava",
        config(
            "video_llava",
            text_config=text("llama"),
            vision_config=CLIP,
            image_token_index=IMAGE,
            video_token_index=VIDEO,
        ),
        {
            "image": fixed(25, 3, 20, 20, name="pixel_values_images"),
            "video": fixed(8 * 26, 8, 3, 20, 20, name="pixel_values_videos", token=VIDEO),
        },
    ),
    Entry(
        "aya_vision",
        config(
            "aya_vision",
            text_config=text("cohere2", sliding_window=WINDOW, layer_types=SLIDING),
            vision_config=SIGLIP,
            alignment_intermediate_size=32,
        ),
        {"image": fixed(9, 3, 24, 24, before=(START,), after=(END,))},
    ),
    Entry(
        "cohere2_vision",
        config(
            "cohere2_vision",
            text_config=text("cohere2", sliding_window=WINDOW, layer_types=SLIDING),
            vision_config=SIGLIP,
            alignment_intermediate_size=32,
        ),
        {"image": fixed(9, 3, 24, 24, before=(START,), after=(END,))},
    ),
    Entry(
        "internvl",
        config(
            "internvl",
            text_config=text("qwen2"),
            image_seq_length=9,
            vision_config={
                "model_type": "internvl_vision",
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": (24, 24),
                "patch_size": (4, 4),
            },
        ),
        {"image": fixed(9, 3, 24, 24, before=(START,), after=(END,))},
    ),
    Entry(
        "qianfan_ocr",
        config(
            "qianfan_ocr",
            text_config=text("qwen3", head_dim=8),
            image_seq_length=9,
            vision_config={
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": (24, 24),
                "patch_size": (4, 4),
            },
        ),
        {"image": fixed(9, 3, 24, 24, before=(START,), after=(END,))},
    ),
    Entry(
        "got_ocr2",
        config(
            "got_ocr2",
            text_config=text("qwen2"),
            vision_config={
                "hidden_size": 16,
                "output_channels": 8,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": 64,
                "patch_size": 4,
                "window_size": 4,
                "global_attn_indexes": [1],
                "mlp_dim": 32,
            },
        ),
        {"image": fixed(16, 3, 64, 64, before=(START,), after=(END,))},
    ),
    Entry(
        "pp_chart2table",
        config(
            "pp_chart2table",
            text_config=text("qwen2"),
            vision_config={
                "hidden_size": 16,
                "output_channels": 8,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": 64,
                "patch_size": 4,
                "window_size": 4,
                "global_attn_indexes": [1],
                "mlp_dim": 32,
            },
        ),
        {"image": fixed(16, 3, 64, 64, before=(START,), after=(END,))},
    ),
    Entry(
        "deepseek_vl",
        config("deepseek_vl", text_config=text("llama"), vision_config=SIGLIP),
        {"image": fixed(36, 3, 24, 24)},
    ),
    _paligemma(text("gemma", head_dim=8)),
    Entry(
        "perception_lm",
        config(
            "perception_lm",
            text_config=text("llama"),
            vision_config=SIGLIP | {"model_args": {"embed_dim": 16}},
            vision_use_cls_token=False,
        ),
        {"image": fixed(36, 1, 3, 24, 24)},
    ),
    Entry(
        "aria",
        config(
            "aria",
            text_config=text(moe_num_experts=4, moe_topk=2, moe_num_shared_experts=1),
            vision_config=SIGLIP | {"model_type": "idefics3_vision"},
            projector_patch_to_query_dict={36: 12},
        ),
        {"image": fixed(12, 3, 24, 24)},
    ),
]
