"""Pictures as discrete codes of the text vocabulary, behind a placeholder token."""

import torch

from tests.zoo.entry import END, IMAGE, START, Entry, Picture
from tests.zoo.parts import config, fixed, noise, text

CODES = {f"IMGIMG{chr(65 + code // 10)}{chr(65 + code % 10)}Z": 100 + code for code in range(16)} | {"<image>": IMAGE}
VISUAL = {f"<|visual token {code:06d}|>": 100 + code for code in range(16)} | {"<image>": IMAGE, "<|extra_200|>": 120}
VQ = {
    "embed_dim": 8,
    "num_embeddings": 16,
    "latent_channels": 8,
    "base_channels": 32,
    "channel_multiplier": [1, 1, 1],
    "num_res_blocks": 1,
    "resolution": 24,
}
ENTRIES = [
    Entry(
        "chameleon",
        config("chameleon", **text(), vq_config=VQ, vocabulary_map=CODES),
        {"image": fixed(36, 3, 24, 24, before=(START,), after=(END,))},
    ),
    Entry(
        "emu3",
        config(
            "emu3",
            text_config=text(),
            vq_config={
                "codebook_size": 16,
                "embed_dim": 4,
                "latent_channels": 4,
                "base_channels": 32,
                "channel_multiplier": [1, 1, 1],
                "num_res_blocks": 1,
                "hidden_size": 32,
                "attn_resolutions": [],
            },
            vocabulary_map=VISUAL,
        ),
        {
            "image": lambda g: Picture(
                [START, *[IMAGE] * 42, END],
                {"pixel_values": noise(g, 1, 3, 24, 24), "image_sizes": torch.tensor([[24, 24]])},
            )
        },
    ),
]
