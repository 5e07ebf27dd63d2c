"""Gemma 3, 3n and 4: windows on most layers, pictures read both ways, per-layer inputs, shared keys and values."""

import torch
from torch import Generator, Tensor
from transformers import CONFIG_MAPPING, PreTrainedConfig

from tests.zoo.entry import AUDIO, END, IMAGE, START, VIDEO, Draw, Entry, Picture, modality_columns
from tests.zoo.parts import SIGLIP, SLIDING, WINDOW, config, fixed, noise, text

GEMMA = {"head_dim": 8, "sliding_window": WINDOW, "layer_types": SLIDING}
MARKS = {"boi_token_id": START, "eoi_token_id": END, "audio_token_id": AUDIO}
VISION4 = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 8, "patch_size": 4, "pooling_kernel_size": 2, "position_embedding_size": 64,
}  # fmt: skip


def image_columns(ids: Tensor, generated: Tensor) -> dict[str, Tensor]:
    """``token_type_ids``: 1 in pictures."""
    return {"token_type_ids": (ids == IMAGE).long()}


def _patches(height: int, width: int, features: int, merge: int, frames: int = 0) -> Draw:
    """Patches padded to 36 with their columns and rows, -1 for padding; a video has one such row per frame."""
    count = height * width // merge**2
    prefix, token = ("video", VIDEO) if frames else ("image", IMAGE)

    def draw(generator: Generator) -> Picture:
        places = torch.full((frames or 1, 36, 2), -1)
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        places[:, : height * width] = torch.stack([columns, rows], -1).view(-1, 2)
        pixels = noise(generator, frames or 1, 36, features)
        tensors = {"pixel_values_videos" if frames else "pixel_values": pixels, f"{prefix}_position_ids": places}
        if frames:
            tensors["num_frames_per_video"] = torch.tensor([frames])
        return Picture([START, *[token] * count, END] * (frames or 1), tensors)

    return draw


def _gemma3n() -> PreTrainedConfig:
    """A convolutional tower in place of the one that timm would bring."""
    made: PreTrainedConfig = config(
        "gemma3n",
        text_config=text(
            **GEMMA, hidden_size_per_layer_input=8, vocab_size_per_layer_input=90, num_kv_shared_layers=2,
            laurel_rank=4, altup_num_inputs=2,
        ),
        audio_config={
            "hidden_size": 16, "conf_num_attention_heads": 2, "conf_num_hidden_layers": 1, "input_feat_size": 16,
            "sscp_conv_channel_size": [8, 4],
        },
        vision_soft_tokens_per_image=16, eoa_token_id=AUDIO, **MARKS,
    )()  # fmt: skip
    tower = CONFIG_MAPPING["resnet"](
        embedding_size=8, hidden_sizes=[16, 16], depths=[1, 1], layer_type="basic", hidden_size=16, rms_norm_eps=1e-6,
        vocab_offset=100, vocab_size=8,
    )  # fmt: skip
    object.__setattr__(made, "vision_config", tower)
    return made


ENTRIES = [
    Entry(
        "gemma3",
        config(
            "gemma3",
            text_config=text(**GEMMA, query_pre_attn_scalar=8),
            vision_config=SIGLIP,
            mm_tokens_per_image=9,
            boi_token_index=START,
            eoi_token_index=END,
            image_token_index=IMAGE,
        ),
        {"image": fixed(9, 3, 24, 24, before=(START,), after=(END,))},
        columns=image_columns,
    ),
    Entry(
        "shieldgemma2",
        config(
            "shieldgemma2",
            text_config=text("gemma3_text", **GEMMA, query_pre_attn_scalar=8),
            vision_config=SIGLIP,
            mm_tokens_per_image=9,
            boi_token_index=START,
            eoi_token_index=END,
            image_token_index=IMAGE,
        ),
        {"image": fixed(9, 3, 24, 24, before=(START,), after=(END,))},
        columns=image_columns,
    ),
    Entry(
        "gemma4",
        config(
            "gemma4",
            text_config=text(
                **GEMMA,
                hidden_size_per_layer_input=8,
                vocab_size_per_layer_input=128,
                num_kv_shared_layers=2,
                global_head_dim=8,
            ),
            vision_config=VISION4,
            audio_config=None,
            video_token_id=VIDEO,
            **MARKS,
        ),
        {"image": _patches(6, 6, 48, 2), "wide": _patches(4, 8, 48, 2), "video": _patches(4, 4, 48, 2, 2)},
        columns=modality_columns,
    ),
    Entry(
        "gemma4_unified",
        config(
            "gemma4_unified",
            text_config=text(**GEMMA, global_head_dim=8),
            vision_config={
                "patch_size": 2,
                "pooling_kernel_size": 2,
                "mm_embed_dim": 16,
                "mm_posemb_size": 32,
                "output_proj_dims": 16,
            },
            audio_config=None,
            video_token_id=VIDEO,
            **MARKS,
        ),
        {"image": _patches(3, 3, 48, 1), "wide": _patches(2, 4, 48, 1), "video": _patches(2, 2, 48, 1, 2)},
        columns=modality_columns,
    ),
    Entry(
        "gemma3n",
        _gemma3n,
        {"image": fixed(16, 3, 32, 32, before=(START,), after=(END,))},
        columns=image_columns,
    ),
]
