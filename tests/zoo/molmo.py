"""Molmo 2: pooled crops, indices into all patches of the batch, image tokens and their separators read each other."""

import torch
from torch import Generator, Tensor

from tests.zoo.entry import END, IMAGE, ROW, START, Draw, Entry, Picture, joined
from tests.zoo.parts import config, noise, text

PATCHES = 36  # of one crop
VISION = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 8, "patch_size": 4,
}  # fmt: skip
ADAPTER = {
    "vision_feature_layer": [0, 1], "hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2,
    "head_dim": 8, "intermediate_size": 32, "text_hidden_size": 32,
}  # fmt: skip


def _crops(number: int) -> Draw:
    """A crop of low resolution and `number` more, each of 3 x 3 tokens of 2 x 2 patches, a separator after each row."""

    def draw(generator: Generator) -> Picture:
        grid = torch.arange(PATCHES).view(3, 2, 3, 2).permute(0, 2, 1, 3).reshape(9, 4)
        pooling = torch.cat([grid + PATCHES * crop for crop in range(1 + number)])
        rows = [IMAGE, IMAGE, IMAGE, ROW] * 3
        ids = [START, *rows, END, *([START, *rows * number, END] if number else [])]
        tensors = {
            "pixel_values": noise(generator, 1 + number, PATCHES, 48), "image_token_pooling": pooling,
            "image_grids": torch.tensor([[3, 3, 3 * number, 3]]), "image_num_crops": torch.tensor([1 + number]),
        }  # fmt: skip
        return Picture(ids, tensors)

    return draw


def _joined(samples: list[list[Picture]]) -> dict[str, Tensor]:
    """Each picture's indices moved on by the patches before it."""
    tensors, before = joined(samples), 0
    poolings = []
    for picture in [picture for sample in samples for picture in sample]:
        poolings.append(picture.tensors["image_token_pooling"] + before)
        before += PATCHES * len(picture.tensors["pixel_values"])
    return tensors | {"image_token_pooling": torch.cat(poolings)}


def _columns(ids: Tensor, generated: Tensor) -> dict[str, Tensor]:
    """``mm_token_type_ids``: 1 also for begin, end and separator tokens, as the processor has it."""
    return {"mm_token_type_ids": torch.isin(ids, torch.tensor([IMAGE, ROW, START, END])).long()}


ENTRIES = [
    Entry(
        "molmo2",
        config(
            "molmo2",
            text_config=text(head_dim=8, additional_vocab_size=0),
            vision_config=VISION | {"num_position_embeddings": PATCHES, "image_size": [24, 24]},
            adapter_config=ADAPTER,
            image_patch_id=IMAGE,
            image_start_token_id=START,
            image_end_token_id=END,
            low_res_image_start_token_id=START,
        ),
        {"image": _crops(0), "wide": _crops(1)},
        columns=_columns,
        join=_joined,
    ),
]
