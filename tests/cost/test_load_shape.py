"""Shapes from presets, files and directories."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, CLIPVisionConfig, LlavaConfig, SiglipVisionConfig

from visionflow.cost import PRESETS, DecoderShape, load_shape
from visionflow.errors import VisionFlowError

# What llava-hf/llava-1.5-7b-hf says; the rest are the defaults of its configuration classes.
LLAVA_7B = {
    "model_type": "llava",
    "text_config": {"model_type": "llama", "vocab_size": 32064},
    "vision_config": {"model_type": "clip_vision_model", "image_size": 336, "patch_size": 14},
    "vision_feature_select_strategy": "default",
}
LLAMA_13B = {
    "model_type": "llama", "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 40,
    "num_attention_heads": 40, "num_key_value_heads": 40, "vocab_size": 32064,
}  # fmt: skip


def write(folder: Path, content: Any) -> Path:
    path = folder / "config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_the_presets_are_the_published_configurations(tmp_path: Path) -> None:
    path = write(tmp_path, LLAVA_7B)
    assert load_shape(str(path)) == load_shape(str(tmp_path)) == load_shape("llava-1.5-7b")
    write(tmp_path, LLAVA_7B | {"text_config": LLAMA_13B})
    assert load_shape(str(tmp_path)) == PRESETS["llava-1.5-13b"]


def test_a_text_model_has_no_image_tokens(tmp_path: Path) -> None:
    shape = load_shape(str(write(tmp_path, LLAMA_13B)))
    assert shape.image_tokens is None
    assert shape.num_layers == 40


def test_grouped_query_heads_and_a_head_width_of_its_own() -> None:
    config = AutoConfig.for_model(
        "qwen3", hidden_size=24, num_attention_heads=4, num_key_value_heads=2, head_dim=10, intermediate_size=40
    )
    shape = DecoderShape.from_config(config)
    assert (shape.num_heads, shape.num_kv_heads, shape.head_dim) == (4, 2, 10)


@pytest.mark.parametrize(
    ("vision", "strategy", "tokens"),
    [
        (CLIPVisionConfig(image_size=336, patch_size=14), "default", 576),
        (CLIPVisionConfig(image_size=336, patch_size=14), "full", 577),
        (SiglipVisionConfig(image_size=384, patch_size=14), "full", 729),  # no class token
    ],
)
def test_image_tokens_of_a_llava(vision: Any, strategy: str, tokens: int) -> None:
    config = LlavaConfig(vision_config=vision, vision_feature_select_strategy=strategy)
    assert DecoderShape.from_config(config).image_tokens == tokens


@pytest.mark.parametrize("model_type", ["llava_next", "qwen2_5_vl"])
def test_image_tokens_that_depend_on_the_picture_are_not_guessed(model_type: str) -> None:
    assert DecoderShape.from_config(AutoConfig.for_model(model_type)).image_tokens is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not a JSON file"),
        ([1], "names no model_type"),
        ({"hidden_size": 3}, "names no model_type"),
        ({"model_type": "llavva"}, "has model_type 'llavva', which this transformers does not know"),
        ({"model_type": "resnet"}, "does not describe decoder layers: it has no num_hidden_layers"),
        ({"model_type": "mixtral"}, "the cost of text model type 'mixtral' is not modelled"),
        ({"model_type": "starcoder2"}, "only that of dense gated decoders"),
        ({"model_type": "clip"}, "'clip_text_model' is not modelled"),
        ({"model_type": "llama", "hidden_size": "wide"}, "is not a valid llama configuration: .*expected int, got str"),
        ({"model_type": "llama", "num_hidden_layers": 0}, "num_layers of a decoder must be a whole number"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, content: Any, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(VisionFlowError, match=message) as caught:
        load_shape(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["llava-1.5-70b", "missing/config.json", "./missing", "/no/such/folder", "a/b/c"])
def test_a_name_that_can_be_nothing_is_refused_at_once(name: str) -> None:
    with pytest.raises(VisionFlowError, match=r"no such model: .* is not a preset \(llava-1b, llava-1.5-7b"):
        load_shape(name)


def test_a_directory_without_a_config(tmp_path: Path) -> None:
    with pytest.raises(VisionFlowError, match=r"there is no config\.json in the directory"):
        load_shape(str(tmp_path))


def test_the_hub_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("We couldn't connect to the Hub.\nCheck your internet connection.")

    monkeypatch.setattr("visionflow.cost.load.place_of", lambda name: name)
    monkeypatch.setattr(AutoConfig, "from_pretrained", unreachable)
    with pytest.raises(VisionFlowError, match="'owner/name', and its configuration did not come from the Hub: We"):
        load_shape("owner/name")
