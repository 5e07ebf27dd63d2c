"""The families that transformers has: which of them can be pruned, where their parts are, and why others cannot.

Every entry is checked on a tiny model of the real architecture (tests/zoo); docs/families.md is made by the checks.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from visionflow.engines.hf.family import Family

_VIDEO = ("pixel_values", "pixel_values_videos")
_VIDEO_TOKEN = ("image_token_id", "video_token_id")

_Video = partial(Family, image_inputs=_VIDEO, image_tokens=_VIDEO_TOKEN)
"""Takes videos, whose tokens have an id of their own."""


def _supported() -> Iterator[Family]:
    # A vision tower, a projector, a plain text model.
    for name in ("llava", "vipllava", "llava_next", "internvl", "deepseek_vl", "janus", "fast_vlm", "lighton_ocr"):
        yield Family(name)
    for name in ("got_ocr2", "pp_chart2table", "ovis2", "mistral3", "qianfan_ocr"):
        yield Family(name)
    for name in ("llava_next_video", "llava_onevision", "video_llama_3", "perception_lm"):
        yield _Video(name)
    yield _Video("video_llava", image_inputs=("pixel_values_images", *_VIDEO))
    yield _Video("hyperclovax_vision_v2", ("hyperclovax",))
    yield Family("deepseek_vl_hybrid", image_inputs=("pixel_values", "high_res_pixel_values"))
    yield Family("aria", ("aria_text",))
    yield Family("aya_vision", ("cohere2",))
    yield Family("cohere2_vision", ("cohere2",))
    yield Family("paligemma", ("gemma", "gemma2"))
    yield Family("deepseek_ocr2", ("deepseek_ocr2_text",))
    yield Family("step3p7", ("step3p5",))
    yield _Video("kimi_k25", ("deepseek_v3",))
    yield Family("mistral_large4", ("mistral_large4_text",), shares_keys=True)
    yield _Video("dots3_note", ("dots3_note_text",))
    yield Family("granite4_vision", ("granite4_vision_text",))
    yield Family("molmo2", ("molmo2_text",), image_inputs=_VIDEO)
    yield Family(
        "fuyu",
        ("persimmon",),
        projection="dense",
        norm="final_layernorm",
        image_inputs=("pixel_values", "image_patches"),
    )
    yield Family("llama4", ("llama4_text",), merger="", decoder="language_model.model")
    # The language model is called with embeddings, in generate by itself.
    apart: dict[str, Any] = {"merger": "language_model", "ids_apart": True}
    yield Family(
        "blip-2",
        ("opt",),
        decoder="language_model.model.decoder",
        projection="out_proj",
        norm="final_layer_norm",
        **apart,
    )
    yield Family("instructblip", ("llama",), decoder="language_model.model", **apart)
    yield Family(
        "instructblipvideo", ("llama",), decoder="language_model.model", image_tokens=("video_token_id",), **apart
    )
    # Tiles between separators.
    for name in ("idefics2", "idefics3", "smolvlm"):
        yield Family(name, decoder="model.text_model")
    yield Family("granite_docling", ("granite_docling_text",), decoder="model.text_model")
    # Pictures as codes of the text vocabulary.
    yield Family("chameleon", ("chameleon",), decoder="model")
    yield Family("emu3", ("emu3_text_model",), decoder="model.text_model")
    # Gemma 3 and 4.
    for name in ("gemma3", "shieldgemma2"):
        yield Family(name, ("gemma3_text",))
    yield Family("gemma3n", ("gemma3n_text",), token_inputs=("per_layer_input",), token_axis=2, shares_keys=True)
    yield _Video("gemma4", ("gemma4_text",), token_inputs=("per_layer_input",), shares_keys=True)
    yield _Video("gemma4_unified", ("gemma4_unified_text",), shares_keys=True)
    # Positions with several axes.
    for name in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "cosmos3_edge", "cohere_compass"):
        yield _Video(name, (f"{name}_text",))
    yield _Video("qwen2_5_omni_thinker", ("qwen2_5_omni_text",))
    yield _Video("qwen3_omni_moe_thinker", ("qwen3_omni_moe_text",))
    yield _Video("cosmos3_omni", ("qwen3_vl_text",))
    for name in ("glm46v", "glmga", "glm4v"):
        yield Family(name, ("glm4v_text",), image_inputs=_VIDEO)
    for name in ("glm_ocr", "glm4v_moe"):
        yield Family(name, (f"{name}_text",), image_inputs=_VIDEO)
    yield _Video("ernie4_5_vl_moe", ("ernie4_5_vl_moe_text",), token_inputs=("moe_mm_token_type_ids",))
    yield Family("paddleocr_vl", ("paddleocr_vl_text",))
    yield Family("hunyuan_vl", ("hunyuan_vl_text",))
    # Layers that attend, and layers with a state.
    for name in ("qwen3_5", "qwen3_5_moe"):
        yield _Video(name, (f"{name}_text",), gated=True)
    for name in ("minicpmv4_6", "minicpmv4_7", "minicpm_ocr"):
        yield _Video(name, ("qwen3_5_text",), gated=True)
    yield Family("lfm2_vl", ("lfm2",), projection="out_proj", norm="embedding_norm", leaks=("conv_bias",))
    yield _Video("lfm3_vl", ("lfm3",), norm="embedding_norm", leaks=("conv_bias",))
    yield Family(
        "nemotron_h_omni",
        ("nemotron_h",),
        merger="",
        decoder="language_model.model",
        attention="mixer",
        norm="norm_f",
        leaks=("use_bias",),
    )
    yield Family("inkling_mm_model", ("inkling_text",), state_mask="conv_mask")
    # Windows, some layers without rotary positions.
    yield _Video("exaone4_5", ("exaone4",))
    for name in ("muse_glimmer", "muse_spark"):
        yield _Video(name, (f"{name}_text",), gated=True)


FAMILIES: dict[str, Family] = {family.model_type: family for family in _supported()}
"""By ``config.model_type``."""

_CROSS = "its decoder reads pictures by cross-attention, it has no image tokens to drop"
_ENCODER = "it is an encoder-decoder, its decoder has no image tokens to drop"
_PICKED = (
    "its indexer picks places by the length that each layer's cache tells, which dropping tokens changes: run it dense"
)
_BLOCKS = "its layers read what earlier blocks made of the whole sequence, at its full length: run it dense"
_MASK = "its image tokens are told by a mask argument, not by their id: run it dense"

UNSUPPORTED: dict[str, str] = {
    **dict.fromkeys(("blip", "idefics", "mllama"), _CROSS),
    "evolla": "it reads proteins, not pictures, and by cross-attention",
    **dict.fromkeys(
        ("florence2", "pix2struct", "pp_formulanet", "t5gemma2", "udop", "vision-encoder-decoder"), _ENCODER
    ),
    "git": "its picture features stand before the embeddings without tokens of their own: run it dense",
    **dict.fromkeys(("kosmos-2", "kosmos-2.5"), _MASK),
    "mistral4": "it is a text model and takes no pictures",
    "pi0": "it is a robot policy that gives actions, not tokens",
    "diffusion_gemma": "it denoises a canvas of tokens at once",
    "minimax_m3_vl": "its layers pick blocks of cache slots, which dropping tokens shifts: run it dense",
    "inkling2": _BLOCKS,
    **dict.fromkeys(("qwen4_exp", "glm5_next"), _PICKED),
    "unlimited_ocr": "its KV cache drops generated tokens by their number and makes all masks: run it dense",
}
"""Why the other classes of transformers' image-text-to-text mapping cannot be pruned."""

UNTRIED: dict[str, str] = {
    **dict.fromkeys(("apertus1p5", "hy_v4_vl"), "it is new in transformers 5.24 and was not tried yet: run it dense"),
    "inkling2_loop": _BLOCKS,
}
"""The same of classes that came with a transformers newer than the one that all tests run on."""
