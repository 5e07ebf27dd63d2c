"""Original configurations are translated, and what they say otherwise than the released ones is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from tests.legacy import originals
from visionflow.errors import UnsupportedModelError
from visionflow.legacy import MobileVLM, MobileVLMConfig, QwenVL, QwenVLConfig

# As on the model cards, without what is not read.
MOBILEVLM_1_7B = {
    "model_type": "mobilevlm", "vocab_size": 32000, "hidden_size": 2048, "intermediate_size": 5632,
    "num_hidden_layers": 24, "num_attention_heads": 16, "num_key_value_heads": 16, "rms_norm_eps": 1e-6,
    "max_position_embeddings": 2048, "torch_dtype": "float16", "mm_projector_type": "ldpnetv2",
    "mm_vision_select_layer": -2, "mm_vision_tower": "openai/clip-vit-large-patch14-336", "image_aspect_ratio": "pad",
}  # fmt: skip
QWEN_VL_CHAT = {
    "model_type": "qwen", "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "kv_channels": 128,
    "num_hidden_layers": 32, "num_attention_heads": 32, "layer_norm_epsilon": 1e-6, "rotary_emb_base": 10000,
    "rotary_pct": 1.0, "seq_length": 2048, "no_bias": True, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "visual": {
        "heads": 16, "image_size": 448, "image_start_id": 151857, "layers": 48, "mlp_ratio": 4.9231,
        "output_dim": 4096, "patch_size": 14, "width": 1664,
    },
}  # fmt: skip


def parameters(model: torch.nn.Module, *parts: str) -> float:
    """Billions, in the whole or in some of its parts."""
    modules = [model.get_submodule(part) for part in parts] or [model]
    return sum(weight.numel() for module in modules for weight in module.parameters()) / 1e9


def test_the_released_qwen_vl_chat() -> None:
    config = QwenVLConfig.from_dict(QWEN_VL_CHAT)
    text, vision = config.text_config, config.vision_config
    assert (text.intermediate_size, text.max_position_embeddings, text.rope_parameters["rope_theta"]) == (
        11008,
        2048,
        1e4,
    )
    assert (vision.intermediate_size, vision.hidden_act, vision.layer_norm_eps) == (8192, "gelu", 1e-6)
    assert (config.image_token_id, text.eos_token_id, text.pad_token_id) == (151859, [151643, 151645, 151644], 151643)
    assert config.dtype == torch.bfloat16
    with torch.device("meta"):
        model = QwenVL(config)
    counts = [
        parameters(model, f"model.{part}") for part in ("language_model", "vision_tower", "multi_modal_projector")
    ]
    assert [round(count, 3) for count in counts] == [7.099, 1.843, 0.093]
    assert round(parameters(model), 3) == 9.657


def test_the_released_mobilevlm_v2() -> None:
    config = MobileVLMConfig.from_dict(MOBILEVLM_1_7B)
    assert (config.vision_feature_layer, config.image_token_id, config.image_seq_length) == (-2, 3, 144)
    assert config.text_config.vocab_size == 32000
    with torch.device("meta"):
        model = MobileVLM(config)
    # A file of 3.35 GB, in two bytes each.
    assert round(parameters(model) * 2, 2) == 3.35


def test_what_is_computed_is_taken_over() -> None:
    config = MobileVLMConfig.from_dict(
        MOBILEVLM_1_7B | {"rms_norm_eps": 1e-5, "rope_theta": 5000.0, "hidden_act": "gelu"}
    )
    text = config.text_config
    assert (text.rms_norm_eps, text.rope_parameters["rope_theta"], text.hidden_act) == (1e-5, 5000.0, "gelu")
    assert not text.attention_bias
    config = QwenVLConfig.from_dict(
        QWEN_VL_CHAT | {"layer_norm_epsilon": 1e-5, "rotary_emb_base": 5000, "seq_length": 99}
    )
    text = config.text_config
    assert (text.rms_norm_eps, text.rope_parameters["rope_theta"], text.max_position_embeddings) == (1e-5, 5000, 99)
    assert not text.use_sliding_window


@pytest.mark.parametrize("place", ["mtgv/clip-vit-large-patch14-336", "/data/openai--clip-vit-large-patch14-336/"])
def test_the_tower_may_be_named_by_where_it_was(place: str) -> None:
    config = MobileVLMConfig.from_dict(MOBILEVLM_1_7B | {"mm_vision_tower": place})
    assert (config.vision_config.hidden_size, config.vision_config.num_hidden_layers) == (1024, 24)


def test_stale_fields_do_not_matter() -> None:
    config = MobileVLMConfig.from_dict(originals.MOBILEVLM_CONFIG)
    assert config.text_config.num_attention_heads == 4  # n_head and n_query_groups say 16


@pytest.mark.parametrize("given", [originals.MOBILEVLM_CONFIG, originals.QWEN_CONFIG], ids=["mobilevlm", "qwen"])
def test_a_saved_configuration_is_the_same(given: dict[str, Any], tmp_path: Path) -> None:
    originals.write_json(tmp_path / "config.json", given)
    config = AutoConfig.from_pretrained(tmp_path)
    config.save_pretrained(tmp_path / "saved")
    again = AutoConfig.from_pretrained(tmp_path / "saved")
    assert type(again) is type(config)
    assert again.to_dict() | {"_name_or_path": ""} == config.to_dict() | {"_name_or_path": ""}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mm_projector_type": "ldpnet"}, "'ldpnet', so this is not MobileVLM V2: use one of mtgv/MobileVLM_V2-1.7B"),
        ({"mm_projector_type": None}, "None, so this is not MobileVLM V2"),
        ({"mm_vision_tower": "google/siglip"}, "mm_vision_tower 'google/siglip' is not known"),
        ({"mm_vision_select_feature": "cls_patch"}, "mm_vision_select_feature is 'cls_patch', supported is 'patch'"),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end is True"),
        ({"image_aspect_ratio": "anyres"}, "image_aspect_ratio is 'anyres'"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings is True"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantization_config is"),
    ],
    ids=str,
)
def test_another_mobilevlm_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        MobileVLMConfig.from_dict(MOBILEVLM_1_7B | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"visual": None}, "no vision tower: use Qwen/Qwen-VL-Chat"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config is"),
        ({"no_bias": False}, "no_bias is False, supported is True"),
        ({"rotary_pct": 0.5}, "rotary_pct is 0.5"),
        ({"kv_channels": 64}, "kv_channels is 64, supported is 128"),
        ({"scale_attn_weights": False}, "scale_attn_weights is False"),
        ({"visual": QWEN_VL_CHAT["visual"] | {"output_dim": 2048}}, "output_dim is 2048, supported is 4096"),
        ({"visual": QWEN_VL_CHAT["visual"] | {"n_queries": 64}}, "n_queries is 64, supported is 256"),
    ],
    ids=str,
)
def test_another_qwen_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        QwenVLConfig.from_dict(QWEN_VL_CHAT | change)


def test_a_refused_configuration_is_refused_by_the_auto_classes(tmp_path: Path) -> None:
    originals.write_json(tmp_path / "config.json", originals.QWEN_CONFIG | {"no_bias": False})
    with pytest.raises(UnsupportedModelError, match="no_bias"):
        AutoModelForImageTextToText.from_pretrained(tmp_path)
