"""BLIP-2 and its kin: a query former between tower and language model, which is called with embeddings."""

from typing import Any

import torch
from torch import Generator

from tests.zoo.entry import IMAGE, TEXT, Draw, Entry, Picture
from tests.zoo.parts import config, noise, text

TOWER = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16,
    "patch_size": 4,
}  # fmt: skip
QUERY_FORMER = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 128,
    "encoder_hidden_size": 16, "cross_attention_frequency": 1, "max_position_embeddings": 64,
}  # fmt: skip
OPT = {name: value for name, value in TEXT.items() if name not in ("intermediate_size", "num_key_value_heads")} | {
    "model_type": "opt", "ffn_dim": 48, "word_embed_proj_dim": 32, "tie_word_embeddings": False,
}  # fmt: skip
QUERIES = 12


def asked(*frames: int) -> Draw:
    """A picture, or `frames` of a video, and what the query former is asked, which is the same for all."""

    def draw(generator: Generator) -> Picture:
        pixels = noise(generator, 1, *frames, 3, 16, 16)
        question = {"qformer_input_ids": torch.tensor([[5, 6, 7]])}
        return Picture([IMAGE] * QUERIES * (frames or (1,))[0], {"pixel_values": pixels, **question})

    return draw


def unasked(generator: Generator) -> Picture:
    """A picture whose query former is asked nothing."""
    return Picture([IMAGE] * QUERIES, {"pixel_values": noise(generator, 1, 3, 16, 16)})


def blip(model_type: str, draw: Draw, text_config: dict[str, Any], **more: Any) -> Entry:
    parts = {"text_config": text_config, "vision_config": TOWER, "qformer_config": QUERY_FORMER}
    made = config(model_type, **parts, num_query_tokens=QUERIES, **more)
    return Entry(model_type, made, {"image": draw}, blank=draw)


ENTRIES = [
    blip("blip-2", unasked, OPT, image_token_index=IMAGE),
    blip("instructblip", asked(), text("llama"), image_token_index=IMAGE),
    blip("instructblipvideo", asked(4), text("llama"), video_token_index=IMAGE),
]
