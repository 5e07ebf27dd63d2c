"""Reports for tests: the tiny LLaVA with its processor, LLaVA-NeXT with tiles, Qwen2.5-VL with dynamic resolution."""

from functools import cache
from types import SimpleNamespace

import torch
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

import visionflow
from tests.tiny import tiny_llava
from tests.tiny_processor import tiny_llava_next_processor, tiny_processor, tiny_tokenizer
from tests.zoo import ZOO
from tests.zoo.entry import BOS, END, IMAGE, START, VIDEO
from visionflow import FastV, HiMAP, LookReport

QUESTION = "w12 w13 w14"
QWEN = Qwen2VLImageProcessorPil(patch_size=4, merge_size=2, size={"shortest_edge": 256, "longest_edge": 96 * 96})


def gradient(width: int, height: int) -> Image.Image:
    """A picture that is different everywhere."""
    across = Image.linear_gradient("L").rotate(90).resize((width, height))
    down = Image.linear_gradient("L").resize((width, height))
    return Image.merge("RGB", (across, down, Image.new("L", (width, height), 90)))


@cache
def plain_report() -> LookReport:
    """One picture, two methods beside the dense model."""
    return visionflow.look(
        tiny_llava(),
        method=[HiMAP(2, 0.5, 4, 0.75), FastV(2, 0.5)],
        processor=tiny_processor(),
        pictures=gradient(60, 40),
        question=QUESTION,
        max_new_tokens=4,
        blocks=2,
    )


def tiled_report(picture: Image.Image | None = None) -> LookReport:
    """LLaVA-NeXT: the whole picture and its tiles."""
    return visionflow.look(
        ZOO["llava_next"].build(),
        method=FastV(1, 0.5),
        processor=tiny_llava_next_processor(),
        pictures=picture or gradient(60, 40),
        question=QUESTION,
        max_new_tokens=3,
        blocks=1,
    )


def dynamic_report(*pictures: Image.Image) -> LookReport:
    """Qwen2.5-VL: as many tokens as each picture has room for; the processor without its video part."""
    shown = list(pictures) or [gradient(160, 120), gradient(60, 90)]
    made = QWEN(shown, return_tensors="pt")
    counts = (made["image_grid_thw"].prod(1) // 4).tolist()
    ids = torch.tensor([[BOS, 5, *(i for n in counts for i in (START, *[IMAGE] * n, END)), 7, 8]])
    columns = ZOO["qwen2_5_vl"].columns(ids, torch.zeros_like(ids, dtype=torch.bool))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **columns, **made}
    processor = SimpleNamespace(image_processor=QWEN, tokenizer=tiny_tokenizer())
    return visionflow.look(
        ZOO["qwen2_5_vl"].build(),
        inputs,
        FastV(1, 0.5),
        processor=processor,
        pictures=shown,
        max_new_tokens=3,
        blocks=1,
    )


@cache
def two_models_report() -> LookReport:
    """The tiny LLaVA and LLaVA-NeXT, asked the same about the same picture."""
    return plain_report().against(tiled_report())


@cache
def hybrid_report() -> LookReport:
    """Qwen3.5, in which layers 1 and 4 alone have attention."""
    entry = ZOO["qwen3_5"]
    inputs = entry.batch([entry.prompt(3, "image", 5)])
    return visionflow.look(entry.build(), inputs, FastV(2, 0.5), max_new_tokens=3, blocks=1)


@cache
def video_report(name: str = "qwen2_5_vl", frames: int | None = None) -> LookReport:
    """A video of 16 frames, two in each step; over none of its frames where another number of them is given."""
    entry, steps, side = ZOO[name], 8, 8
    grid = torch.tensor([[steps, side, side]])
    pixels = torch.randn(steps * side**2, 3 * 2 * 4**2, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[BOS, 5, START, *[VIDEO] * (steps * side**2 // 4), END, 7, 8]])
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values_videos": pixels,
        "video_grid_thw": grid,
        **entry.columns(ids, torch.zeros_like(ids, dtype=torch.bool)),
    }
    shown = [gradient(80 + number, 80 + number) for number in range(2 * steps if frames is None else frames)]
    return visionflow.look(entry.build(), inputs, FastV(1, 0.5), pictures=shown, max_new_tokens=3, blocks=1)
