"""Image tokens lie where the geometry says: paint a cell of a picture, and see whose embedding changes in the model."""

from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from tests.zoo import ZOO
from tests.zoo.entry import BOS, END, IMAGE, START
from visionflow.engines.hf.families import family_of
from visionflow.errors import VisionFlowError
from visionflow.report.figures import Scene, scene_or_reason
from visionflow.report.figures.geometry import GRIDDED, ONE_INPUT

_SQUARE = {"height": 24, "width": 24}
_CLIP = CLIPImageProcessorPil(size={"shortest_edge": 20}, crop_size={"height": 20, "width": 20})
_GEMMA = Gemma3ImageProcessorPil(size=_SQUARE)
_IDEFICS = {"max_image_size": {"longest_edge": 24}, "size": {"longest_edge": 24}}
_QWEN = Qwen2VLImageProcessorPil(
    patch_size=4, merge_size=2, size={"shortest_edge": 16 * 16, "longest_edge": 48 * 48}
)  # a third of the pixels of the pictures below
PROCESSORS = {
    "llava": _CLIP,
    "vipllava": _CLIP,
    "paligemma": SiglipImageProcessorPil(size=_SQUARE),
    "gemma3": _GEMMA,
    "shieldgemma2": _GEMMA,
    "internvl": GotOcr2ImageProcessorPil(size=_SQUARE, crop_to_patches=True, max_patches=1),
    "idefics3": Idefics3ImageProcessorPil(**_IDEFICS),
    "smolvlm": SmolVLMImageProcessorPil(**_IDEFICS),
    **dict.fromkeys(GRIDDED, _QWEN),
}
_READS = ("out_proj", "o_proj", "attn.proj", "projection_layer")


def test_every_known_model_is_painted_on() -> None:
    """But for the older models, whose projectors mix neighbours (tests/legacy)."""
    assert {*ONE_INPUT, *GRIDDED} - {"mobilevlm", "qwen"} == PROCESSORS.keys()


@cache
def deaf(name: str) -> PreTrainedModel:
    """The tiny model, its vision tower without attention: what a token says comes from its own patches alone."""
    model = ZOO[name].build()
    decoder = family_of(model).decoder
    with torch.no_grad():
        for path, module in model.named_modules():
            if path.endswith(_READS) and not path.startswith(decoder):
                for weight in module.parameters():
                    weight.zero_()
    return model


def prompt(name: str, pictures: list[Image.Image]) -> dict[str, Any]:
    """What the real image processor makes of them, and ids with the image tokens that the model takes for them."""
    made = PROCESSORS[name](pictures, return_tensors="pt")
    if name in GRIDDED:
        counts = (made["image_grid_thw"].prod(1) // 4).tolist()
    else:
        counts = [ZOO[name].prompt("image").ids.count(IMAGE)] * len(pictures)
    ids = torch.tensor([[BOS, 5, *(i for n in counts for i in (START, *[IMAGE] * n, END)), 7, 8]])
    columns = ZOO[name].columns(ids, torch.zeros_like(ids, dtype=torch.bool))
    tensors = {key: made[key] for key in ("pixel_values", "image_grid_thw", "pixel_attention_mask") if key in made}
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **columns, **tensors}


def embeddings(model: PreTrainedModel, inputs: dict[str, Any]) -> Tensor:
    """What the decoder is given in the places of image tokens, ``[image tokens, width]``."""
    seen = []
    decoder = family_of(model).decoder_of(model)
    hook = decoder.register_forward_pre_hook(
        lambda _, __, kwargs: seen.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    with torch.no_grad():
        model(**inputs)
    hook.remove()
    return seen[0][0][inputs["input_ids"][0] == IMAGE]


@pytest.mark.parametrize("name", PROCESSORS)
def test_the_painted_cell_is_the_token_that_changes(name: str) -> None:
    """In each of two pictures, a wide and a tall one."""
    model = deaf(name)
    sizes = [(160, 120), (120, 150)]
    black = [Image.new("RGB", size) for size in sizes]
    inputs = prompt(name, black)
    processor = SimpleNamespace(image_processor=PROCESSORS[name])
    scene = Scene.of_prompt(model, processor, black, inputs)
    before = embeddings(model, inputs)
    assert sum(scene.patches()) == len(before)
    boxes = [(which, box) for which, frame in enumerate(scene.framings) for box in frame.patch_boxes(scene.patch)]
    for token in {0, 1, len(boxes) // 2 - 1, len(boxes) // 2 + 2, len(boxes) - 2, len(boxes) - 1}:
        which, (left, top, right, bottom) = boxes[token]
        inner = (left * 3 + right) / 4, (top * 3 + bottom) / 4, (left + right * 3) / 4, (top + bottom * 3) / 4
        painted = [picture.copy() for picture in black]
        painted[which].paste((255, 255, 255), tuple(map(round, inner)))
        change = (embeddings(model, prompt(name, painted)) - before).norm(dim=1)
        assert int(change.argmax()) == token
        assert change.sort().values[-2] < 0.35 * change.max()  # resampling smears over the edges of a cell


@settings(max_examples=25)
@given(name=st.sampled_from([*PROCESSORS]), width=st.integers(30, 300), height=st.integers(30, 300))
def test_a_scene_accounts_for_every_image_token(name: str, width: int, height: int) -> None:
    picture = Image.new("RGB", (width, height))
    processor = SimpleNamespace(image_processor=PROCESSORS[name])
    scene = Scene.of_prompt(deaf(name), processor, [picture], prompt(name, [picture]))
    assert scene.patches() == [len(scene.image_columns)]
    left, top, right, bottom = scene.framings[0].box
    seen = min(width, height) ** 2 if PROCESSORS[name] is _CLIP else width * height
    assert (right - left) * (bottom - top) == pytest.approx(seen, rel=1 / 20)  # the crop, to a pixel of 20


def test_tiles_are_refused() -> None:
    model = deaf("gemma3")
    crops = {"do_pan_and_scan": True, "pan_and_scan_min_crop_size": 16, "pan_and_scan_max_num_crops": 4}
    processor = Gemma3ImageProcessorPil(size=_SQUARE, **crops, pan_and_scan_min_ratio_to_activate=1.2)
    wide = Image.new("RGB", (90, 40))
    ids = torch.tensor([[BOS, *[IMAGE] * 27, 7]])
    inputs = {"input_ids": ids, "pixel_values": processor(wide, return_tensors="pt")["pixel_values"]}
    with pytest.raises(VisionFlowError, match=r"the processor cut 1 picture\(s\) into 3 overlapping tiles"):
        Scene.of_prompt(model, SimpleNamespace(image_processor=processor), [wide], inputs)


def test_tokens_that_are_no_grid_are_refused() -> None:
    model, picture = deaf("gemma3"), Image.new("RGB", (40, 40))
    inputs = prompt("gemma3", [picture])
    inputs["input_ids"] = inputs["input_ids"][:, 5:]
    with pytest.raises(VisionFlowError, match=r"7 image tokens are not the 9 cells of a grid"):
        Scene.of_prompt(model, SimpleNamespace(image_processor=_GEMMA), [picture], inputs)


def test_other_models_are_refused_by_name() -> None:
    model, picture = ZOO["chameleon"].build(), Image.new("RGB", (40, 40))
    scene, why = scene_or_reason(
        model, SimpleNamespace(image_processor=_CLIP), [picture], {"input_ids": torch.ones(1, 3)}
    )
    assert scene is None
    assert why == "where the image tokens of a chameleon lie in the picture is not known here"
