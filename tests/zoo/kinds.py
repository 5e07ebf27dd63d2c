"""Kits by kind, and the sizes that some processors have fixed in their class."""

from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig

from tests.zoo.entry import AUDIO, END, IMAGE, ROW, START, VIDEO, VIDEO_END, VIDEO_START
from tests.zoo.kit import Kit, Options, Tokens
from tests.zoo.llava_like import TILES


def square(kind: str, side: int, **more: Any) -> Options:
    """An image processor whose pictures all have one size."""
    return {"image_processor_type": kind, "size": {"height": side, "width": side}, **more}


def cropped(kind: str, side: int, **more: Any) -> Options:
    """An image processor that cuts a square out of the middle."""
    crop = {"height": side, "width": side}
    return {"image_processor_type": kind, "size": {"shortest_edge": side}, "crop_size": crop, **more}


def patched(kind: str, **more: Any) -> Options:
    """An image processor of patches in a grid of the picture's own shape: up to 36 patches of 4 x 4 pixels."""
    size = {"shortest_edge": 8 * 8, "longest_edge": 24 * 24}
    return {"image_processor_type": kind, "size": size, "patch_size": 4, "merge_size": 2, **more}


def of_videos(kind: str, **more: Any) -> Options:
    """The video processor; no test here shows it a video."""
    return {"video_processor_type": kind, **more}


def named(*marks: str) -> dict[str, str]:
    """Attributes of the tokenizer by the marks' own words: ``image`` is ``image_token``, written ``<image>``."""
    return {f"{mark}_token": f"<{mark}>" for mark in marks}


QWEN = {"<|image_pad|>": IMAGE, "<|video_pad|>": VIDEO, "<|vision_start|>": START, "<|vision_end|>": END}
QWEN_SHOWN = "<|vision_start|><|image_pad|><|vision_end|>"
GLM = {
    "<|image|>": IMAGE, "<|video|>": VIDEO, "<|begin_of_image|>": START, "<|end_of_image|>": END,
    "<|begin_of_video|>": VIDEO_START, "<|end_of_video|>": VIDEO_END,
}  # fmt: skip
GLM_SHOWN = "<|begin_of_image|><|image|><|end_of_image|>"
PLAIN: Tokens = {"<image>": IMAGE}
TILE_MARKS = (f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2))
IDEFICS = PLAIN | dict.fromkeys(("<fake_token_around_image>", "<end_of_utterance>", "<global-img>", *TILE_MARKS))
AND_VIDEO: Tokens = {"<image>": IMAGE, "<video>": VIDEO}
WITH_CLS = {"patch_size": 4, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
LLAVA = cropped("CLIPImageProcessor", 20)
TILED = {"image_grid_pinpoints": TILES}
MULTIPLE = {"crop_to_patches": True, "min_patches": 1, "max_patches": 2}


def llava(processor: str = "LlavaProcessor", image: Options = LLAVA, **options: Any) -> Kit:
    return Kit(processor, image, PLAIN, options=WITH_CLS | options)


def qwen(
    processor: str,
    videos: str,
    image: str = "Qwen2VLImageProcessor",
    frames: int = 2,
    size: Options | None = None,
    **more: Any,
) -> Kit:
    """Patches with a grid between marks; videos beside pictures."""
    sizes = {"patch_size": 4, "merge_size": 2}
    return Kit(
        processor,
        patched(image, temporal_patch_size=frames) | ({"size": size} if size else {}),
        **{"tokens": QWEN, "shown": QWEN_SHOWN, "video": of_videos(videos, **sizes)} | more,
    )


def glm(processor: str, kind: str) -> Kit:
    return qwen(processor, f"{kind}VideoProcessor", f"{kind}ImageProcessor", tokens=GLM, shown=GLM_SHOWN)


def omni(processor: str) -> Kit:
    marks = {
        "image_token": "<|image_pad|>", "video_token": "<|video_pad|>", "audio_token": "<|audio_pad|>",
        "vision_bos_token": "<|vision_start|>", "vision_eos_token": "<|vision_end|>",
        "audio_bos_token": "<|audio_start|>", "audio_eos_token": "<|audio_end|>",
    }  # fmt: skip
    audio = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 16}
    tokens = QWEN | {"<|audio_pad|>": AUDIO, "<|audio_start|>": None, "<|audio_end|>": None}
    return qwen(processor, "Qwen2VLVideoProcessor", tokens=tokens, names=marks, audio=audio)


def deepseek(processor: str, kind: str, **more: Any) -> Kit:
    image = square(kind, 24, min_size=4, **more)
    return Kit(processor, image, PLAIN, named("image"), {"num_image_tokens": 36})


def pixtral(processor: str) -> Kit:
    image = {"image_processor_type": "PixtralImageProcessor", "size": {"longest_edge": 24}, "patch_size": 4}
    tokens: Tokens = {"[IMG]": IMAGE, "[IMG_BREAK]": ROW, "[IMG_END]": END}
    names = {"image_token": "[IMG]", "image_break_token": "[IMG_BREAK]", "image_end_token": "[IMG_END]"}
    return Kit(processor, image, tokens, names, {"patch_size": 4, "spatial_merge_size": 2}, "[IMG]")


def internvl(processor: str, video: Options | None) -> Kit:
    tokens: Tokens = {"<IMG_CONTEXT>": IMAGE, "<img>": START, "</img>": END, "<video>": VIDEO}
    names = {
        "start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }  # fmt: skip
    shown = "<IMG_CONTEXT>" if video else "<image>"
    image = square("GotOcr2ImageProcessor", 24, **MULTIPLE)
    return Kit(processor, image, tokens, names, {"image_seq_length": 9}, shown, video)


def idefics(processor: str, kind: str, video: Options | None = None) -> Kit:
    """Up to 2 x 2 tiles of 24 pixels, and the whole picture."""
    sizes = {"size": {"longest_edge": 48}, "max_image_size": {"longest_edge": 24}, "do_image_splitting": True}
    image = {"image_processor_type": kind} | sizes
    return Kit(processor, image, IDEFICS, options={"image_seq_len": 9}, video=video)


def gemma(processor: str, seen: int, image: Options, *marks: str, **more: Any) -> Kit:
    tokens = {"<image>": IMAGE, "<boi>": START, "<eoi>": END} | {f"<{mark}>": None for mark in marks}
    return Kit(
        processor, image, tokens, named("image", "boi", "eoi", *marks), **{"options": {"image_seq_length": seen}} | more
    )


def muse(processor: str, audio: Options | None = None) -> Kit:
    image = {"image_processor_type": "MuseGlimmerImageProcessor", "patch_size": 4, "max_image_tokens": 9}
    marks = ("<|video|>", "<|vid_frame_separator|>", "<|vid_start|>", "<|vid_end|>")
    sound = ("<|audio|>", "<|soft_audio_start|>", "<|soft_audio_end|>")
    tokens = {"<|patch|>": IMAGE, "<|image_start|>": START, "<|image_end|>": END, **dict.fromkeys(marks + sound)}
    video = of_videos("MuseGlimmerVideoProcessor", patch_size=4)
    return Kit(processor, image, tokens, shown="<|patch|>", video=video, audio=audio)


def minicpm(processor: str, image: str, video: str) -> Kit:
    """Patches side by side, a picture in one piece."""
    marks = ("image_start", "image_end", "slice_start", "slice_end", "image_id_start", "image_id_end")
    tokens = AND_VIDEO | {"<image_start>": START, "<image_end>": END} | {f"<{mark}>": None for mark in marks[2:]}
    sizes = {"patch_size": 4, "scale_resolution": 32, "slice_mode": False, "downsample_mode": "16x"}
    options = {"image_processor_type": image, **sizes}
    return Kit(processor, options, tokens, named("image", "video", *marks), video=of_videos(video, **sizes))


def tower(architecture: str, width: int, **more: Any) -> PreTrainedConfig:
    """One of the towers that timm has for tests."""
    return CONFIG_MAPPING["timm_wrapper"](architecture=architecture, hidden_size=width, do_pooling=False, **more)


def fit_fast_vlm(config: PreTrainedConfig) -> None:
    config.vision_config = tower("test_resnet", 96)


def fit_gemma3n(config: PreTrainedConfig) -> None:
    tower = CONFIG_MAPPING["gemma3n"]().vision_config
    tower.architecture, tower.hidden_size, tower.vocab_offset, tower.vocab_size = "test_resnet", 96, 100, 8
    object.__setattr__(config, "vision_config", tower)


def fit_perception_lm(config: PreTrainedConfig) -> None:
    config.vision_config = tower("test_vit", 64, model_args={"embed_dim": 64, "img_size": 96})
    config.vision_use_cls_token = True


def fit_aria(config: PreTrainedConfig) -> None:
    """The processor knows pictures of 490 and 980 pixels only."""
    config.vision_config.image_size, config.vision_config.patch_size = 980, 196
    config.projector_patch_to_query_dict = {25: 12}


def fit_deepseek_ocr2(config: PreTrainedConfig) -> None:
    """The model has 144 queries for a picture, whatever its size: here, too, one for each of its patches."""
    config.vision_config.sam_config.image_size = 192
    config.vision_config.sam_config.global_attn_indexes = []


def fit_got_ocr2(config: PreTrainedConfig) -> None:
    """The processor writes 256 tokens for a picture, whatever its size."""
    config.vision_config.image_size = 256
    config.vision_config.global_attn_indexes = []


def fit_emu3(config: PreTrainedConfig) -> None:
    """The processor writes a token for 8 x 8 pixels, whatever the model makes of them."""
    config.vq_config.channel_multiplier = [1, 1, 1, 1]
