"""Pictures in tiles or in rows with separators: several spans of image tokens for one picture."""

import torch
from torch import Generator, Tensor

from tests.zoo.entry import END, IMAGE, ROW, START, Draw, Entry, Picture, joined, modality_columns
from tests.zoo.parts import CLIP, PIXTRAL, SIGLIP, config, fixed, gridded, noise, text

SAM = {
    "hidden_size": 16, "output_channels": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 64,
    "patch_size": 4, "window_size": 4, "global_attn_indexes": [1], "mlp_dim": 32,
}  # fmt: skip
IDEFICS = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 24,
    "patch_size": 4,
}  # fmt: skip
PERCEIVER = {
    "hidden_size": 32, "resampler_n_latents": 6, "resampler_depth": 1, "resampler_n_heads": 2, "resampler_head_dim": 8,
    "num_key_value_heads": 1,
}  # fmt: skip


def per_sample(samples: list[list[Picture]]) -> dict[str, Tensor]:
    """The tensors of each sample ``[batch, most pictures of a sample, ...]``, padded with zeros."""
    parts = [joined([sample]) for sample in samples]
    most = max(len(tensor) for part in parts for tensor in part.values())
    shapes = {name: tensor for part in parts for name, tensor in part.items()}
    return {
        name: torch.stack([_padded(part.get(name, like[:0]), most) for part in parts]) for name, like in shapes.items()
    }


def _padded(tensor: Tensor, length: int) -> Tensor:
    return torch.cat([tensor, tensor.new_zeros(length - len(tensor), *tensor.shape[1:])])


def rows(height: int, width: int, size: tuple[int, int]) -> Draw:
    """A picture of `height` x `width` tokens with a separator token after each row; pixels padded to 24 x 32."""

    def draw(generator: Generator) -> Picture:
        ids = [token for _ in range(height) for token in [*[IMAGE] * width, ROW]]
        pixels = torch.zeros(1, 3, 24, 32)
        pixels[:, :, : size[0], : size[1]] = noise(generator, 3, *size)
        return Picture([*ids[:-1], END], {"pixel_values": pixels, "image_sizes": torch.tensor([size])})

    return draw


def tiles(number: int, count: int, size: int, mask: str = "pixels") -> Draw:
    """A picture of `number` tiles of `count` tokens, each between separators."""

    def draw(generator: Generator) -> Picture:
        ids = [token for _ in range(number) for token in [START, ROW, *[IMAGE] * count]]
        shape = (number, size, size) if mask == "pixels" else (number,)
        real = torch.ones(shape, dtype=torch.bool)
        return Picture(
            [*ids, START], {"pixel_values": noise(generator, number, 3, size, size), "pixel_attention_mask": real}
        )

    return draw


ENTRIES = [
    Entry(
        "mistral3",
        config("mistral3", text_config=text("mistral", head_dim=8), vision_config=PIXTRAL, spatial_merge_size=2),
        {"image": rows(3, 3, (24, 24)), "wide": rows(2, 4, (16, 32))},
    ),
    Entry(
        "lighton_ocr",
        config("lighton_ocr", text_config=text("qwen3", head_dim=8), vision_config=PIXTRAL, spatial_merge_size=2),
        {"image": rows(3, 3, (24, 24)), "wide": rows(2, 4, (16, 32))},
    ),
    Entry(
        "idefics2",
        config("idefics2", text_config=text("mistral", head_dim=8), vision_config=IDEFICS, perceiver_config=PERCEIVER),
        {"image": tiles(1, 6, 24), "wide": tiles(3, 6, 24)},
        join=per_sample,
    ),
    Entry(
        "idefics3",
        config("idefics3", text_config=text("llama"), vision_config=IDEFICS),
        {"image": tiles(1, 9, 24), "wide": tiles(3, 9, 24)},
        join=per_sample,
    ),
    Entry(
        "smolvlm",
        config("smolvlm", text_config=text("llama"), vision_config=IDEFICS),
        {"image": tiles(1, 9, 24), "wide": tiles(3, 9, 24)},
        join=per_sample,
    ),
    Entry(
        "granite_docling",
        config(
            "granite_docling",
            text_config=text(attention_multiplier=0.35),
            vision_config=IDEFICS
            | {
                "image_size": 32,
                "num_hidden_layers": 3,
                "out_hidden_size": 32,
                "deepstack_visual_indexes": [0, 1, 2],
                "scale_factor": 2,
                "use_fine_route": False,
            },
            pad_token_id=0,
        ),
        {"image": tiles(1, 16, 32, "tiles"), "wide": tiles(3, 16, 32, "tiles")},
        join=per_sample,
    ),
    Entry(
        "ovis2",
        config(
            "ovis2",
            text_config=text("qwen2"),
            vocab_size=128,
            hidden_size=32,
            visual_indicator_token_ids=(START, END, ROW, 93, 92),
            vision_config={
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": 24,
                "patch_size": 4,
                "hidden_stride": 2,
                "vocab_size": 40,
            },
        ),
        {"image": fixed(9, 3, 24, 24, before=(START,), after=(END,))},
    ),
    Entry(
        "deepseek_vl_hybrid",
        config(
            "deepseek_vl_hybrid",
            text_config=text("llama"),
            vision_config=SIGLIP,
            high_res_vision_config={"model_type": "sam_vision_model"} | SAM,
        ),
        {
            "image": lambda generator: Picture(
                [IMAGE] * 36,
                {
                    "pixel_values": noise(generator, 1, 3, 24, 24),
                    "high_res_pixel_values": noise(generator, 1, 3, 64, 64),
                },
            )
        },
    ),
    Entry(
        "janus",
        config(
            "janus",
            text_config=text("llama"),
            vision_config=IDEFICS
            | {"model_type": "janus_vision_model", "projection_dim": 32, "num_image_tokens": 36, "mlp_ratio": 2.0},
            vq_config={
                "embed_dim": 8,
                "num_embeddings": 16,
                "latent_channels": 8,
                "base_channels": 32,
                "channel_multiplier": (1, 1),
                "num_res_blocks": 1,
                "num_patches": 6,
                "projection_dim": 32,
                "image_token_embed_dim": 32,
            },
        ),
        {"image": fixed(36, 3, 24, 24, before=(START,), after=(END,))},
    ),
    Entry(
        "fast_vlm",
        config(
            "fast_vlm",
            text_config=text("qwen2"),
            vision_config={
                "model_type": "resnet",
                "embedding_size": 8,
                "hidden_sizes": [16, 16],
                "depths": [1, 1],
                "layer_type": "basic",
                "hidden_size": 16,
            },
        ),
        {"image": fixed(16, 3, 32, 32)},
    ),
    Entry(
        "granite4_vision",
        config(
            "granite4_vision",
            text_config=text(attention_multiplier=0.2),
            vision_config=CLIP | {"image_size": 16, "hidden_size": 64},
            image_grid_pinpoints=[[16, 32], [32, 16], [32, 32]],
            downsample_rate="1/2",
            deepstack_layer_map=[[-2, 0], [-1, 2]],
            spatial_target_layers=[1, 3, 4, 5],
            qformer_config={
                "model_type": "blip_2_qformer",
                "num_hidden_layers": 1,
                "intermediate_size": 32,
                "cross_attention_frequency": 1,
                "max_position_embeddings": 64,
                "use_qformer_text_input": False,
            },
        ),
        {
            "image": lambda g: Picture(
                [IMAGE] * 24, {"pixel_values": noise(g, 1, 5, 3, 16, 16), "image_sizes": torch.tensor([[32, 32]])}
            ),
            "wide": lambda g: Picture(
                [IMAGE] * 14, {"pixel_values": noise(g, 1, 5, 3, 16, 16), "image_sizes": torch.tensor([[16, 32]])}
            ),
        },
    ),
    Entry(
        "fuyu",
        config("fuyu", text_config=text("persimmon"), image_size=24, patch_size=4),
        {
            "image": lambda g: Picture(
                [t for _ in range(3) for t in [*[IMAGE] * 3, ROW]], {"image_patches": noise(g, 9, 48)}
            ),
            "wide": lambda g: Picture(
                [t for _ in range(2) for t in [*[IMAGE] * 4, ROW]], {"image_patches": noise(g, 8, 48)}
            ),
        },
    ),
    Entry(
        "hunyuan_vl",
        config(
            "hunyuan_vl",
            text_config=text(
                head_dim=8, rope_parameters={"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 1, 1]}
            ),
            im_start_id=START,
            im_end_id=END,
            im_newline_id=ROW,
            vision_config=IDEFICS | {"out_hidden_size": 32, "text_hidden_size": 32, "max_image_size": 32},
        ),
        {"image": gridded((1, 6, 6), 48, count=14), "wide": gridded((1, 4, 8), 48, count=12)},
        columns=modality_columns,
        batches=False,
    ),
]
