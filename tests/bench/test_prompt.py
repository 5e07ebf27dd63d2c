"""Prompts of any number of image tokens: the decoder sees exactly so many."""

import pytest
import torch
from transformers import PreTrainedModel, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from tests.tiny import IMAGE_TOKEN, PER_IMAGE, tiny_llava
from visionflow import FastV, prune
from visionflow.bench.measure import Settings, measure
from visionflow.bench.prompt import make_prompt, picture_tokens
from visionflow.bench.subject import Subject
from visionflow.errors import VisionFlowError


@pytest.fixture(scope="module")
def llava() -> PreTrainedModel:
    return tiny_llava()


@pytest.fixture(scope="module")
def qwen() -> PreTrainedModel:
    """A tiny Qwen2.5-VL."""
    text = {
        "vocab_size": 128, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3]},
    }  # fmt: skip
    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 32, "patch_size": 4,
        "window_size": 16, "fullatt_block_indexes": [1],
    }  # fmt: skip
    torch.manual_seed(0)
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, image_token_id=99)
    return Qwen2_5_VLForConditionalGeneration(config).eval()


@pytest.mark.parametrize("image_tokens", [1, PER_IMAGE - 1, PER_IMAGE, PER_IMAGE + 1, 3 * PER_IMAGE])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_decoder_sees_as_many_image_tokens_as_asked_for(
    llava: PreTrainedModel, image_tokens: int, batch: int
) -> None:
    prompt = make_prompt(llava, batch, image_tokens, text_tokens=8)
    features = prompt.features(llava)
    assert features.shape == prompt.noise(llava).shape == (batch, image_tokens, 32)
    with torch.inference_mode(), prune(llava, FastV(2, 0.5)) as trace:
        llava(**prompt.decoder_inputs(features), logits_to_keep=1)
    assert trace.image_tokens[0].tolist() == [image_tokens] * batch
    assert trace.text_tokens.tolist() == [8] * batch
    assert trace.instruction_tokens.tolist() == [4] * batch


def test_whole_pictures_are_what_the_model_encodes_itself(llava: PreTrainedModel) -> None:
    prompt = make_prompt(llava, batch=2, text_tokens=6)
    assert prompt.image_tokens == picture_tokens(llava) == PER_IMAGE
    with torch.inference_mode():
        ours = llava(**prompt.decoder_inputs(prompt.features(llava))).logits
        own = llava(input_ids=prompt.ids, **prompt.pictures).logits
    assert torch.equal(ours, own)


def test_text_holds_no_image_token_and_stands_on_both_sides(llava: PreTrainedModel) -> None:
    prompt = make_prompt(llava, batch=4, image_tokens=10, text_tokens=100)
    image = prompt.ids == IMAGE_TOKEN
    assert image[:, 35:45].all()
    assert image.sum() == 40
    assert make_prompt(llava, image_tokens=3, text_tokens=2).ids.shape == (1, 5)


@pytest.mark.parametrize(("image_tokens", "grid"), [(12, [1, 6, 8]), (16, [1, 8, 8]), (7, [1, 2, 14])])
def test_qwen_gets_one_picture_near_to_a_square(qwen: PreTrainedModel, image_tokens: int, grid: list[int]) -> None:
    prompt = make_prompt(qwen, 2, image_tokens, text_tokens=6)
    assert prompt.pictures["image_grid_thw"].tolist() == [grid] * 2
    features = prompt.features(qwen)
    assert features.shape == (2, image_tokens, 32)
    with torch.inference_mode():
        ours = qwen(**prompt.decoder_inputs(features)).logits
        own = qwen(input_ids=prompt.ids, **prompt.pictures, mm_token_type_ids=prompt.extra["mm_token_type_ids"]).logits
    assert torch.equal(ours, own)


def test_qwen_is_benched_like_any_other(qwen: PreTrainedModel) -> None:
    settings = Settings(("random", "fastv", "vtw"), batch=2, image_tokens=12, text_tokens=6, new_tokens=3, repeats=1)
    result = measure(Subject(qwen, "qwen"), settings)
    assert [row.name for row in result.rows] == ["none", "random", "fastv", "vtw"]
    assert all(row.bound > 1 for row in result.rows[1:])


def test_a_number_of_tokens_that_depends_on_the_picture_is_llavas(qwen: PreTrainedModel) -> None:
    assert picture_tokens(qwen) == 576


def test_too_few_tokens_and_unknown_families_are_refused(
    llava: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(VisionFlowError, match="--image-tokens must be at least 1, not 0"):
        make_prompt(llava, image_tokens=0)
    with pytest.raises(VisionFlowError, match="--text-tokens must be at least 2, around the picture, not 1"):
        make_prompt(llava, text_tokens=1)
    monkeypatch.setattr("visionflow.bench.prompt._PICTURES", {})
    with pytest.raises(VisionFlowError, match="no pictures for model type 'llava' yet"):
        make_prompt(llava)
