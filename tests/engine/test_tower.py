"""Evidence from the vision tower in a scope: when it is there, when it is not, and that it is of the right pictures."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.matrix import model_of, prompts
from tests.tiny import batch_of, prompt
from tests.zoo import ZOO
from visionflow import UnsupportedModelError, UnsupportedUsageError
from visionflow.core import Cut, Plan, Ratio, Tower
from visionflow.core.towers import patches_seen
from visionflow.engines.hf.scope import Scope

BEST = Plan((Cut(0, Ratio(0.5), Tower("cls")),))


@pytest.fixture
def model() -> PreTrainedModel:
    return model_of("llava")


def kept_of(model: PreTrainedModel, plan: Plan, inputs: dict[str, Any]) -> list[list[list[int]]]:
    with Scope(model, plan) as trace, torch.no_grad():
        model(**inputs)
    return [[kept.tolist() for kept in stage.kept] for stage in trace.stages]


def eager_weights(model: PreTrainedModel, pictures: Tensor) -> Tensor:
    """Head-mean attention of the layer whose output is projected, ``[pictures, 1 + patches, 1 + patches]``."""
    tower = model.model.vision_tower
    tower.set_attn_implementation("eager")
    try:
        weights: Tensor = tower(pictures.to(model.dtype), output_attentions=True).attentions[-2].mean(1)
    finally:
        tower.set_attn_implementation("sdpa")
    return weights


def test_the_best_patches_stay(model: PreTrainedModel) -> None:
    inputs = prompt(3, "image", 4, "image", 6).inputs
    read = eager_weights(model, inputs["pixel_values"])
    columns = (inputs["input_ids"][0] == model.config.image_token_id).nonzero()[:, 0]
    for rows, score in (("cls", read[:, 0, 1:]), ("received", read.sum(1)[:, 1:])):
        best = score.flatten().topk(25).indices.sort().values
        assert kept_of(model, Plan((Cut(0, Ratio(0.5), Tower(rows)),)), inputs) == [[columns[best].tolist()]]


def test_two_looks_in_one_plan_and_later_layers(model: PreTrainedModel) -> None:
    inputs = batch_of(prompts())
    both = Plan((Cut(0, Ratio(0.5), Tower("cls")), Cut(3, Ratio(0.5), Tower("received"))))
    first, second = kept_of(model, both, inputs)
    assert [first] == kept_of(model, BEST, inputs)
    alone = kept_of(model, Plan((Cut(3, Ratio(0.5), Tower("received")),)), inputs)[0]
    assert alone != second
    assert all({*few} <= {*many} for few, many in zip(second, first, strict=True))


@pytest.mark.parametrize("search", [{}, {"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2}], ids=str)
def test_generate_encodes_pictures_before_the_prompt_runs(model: PreTrainedModel, search: dict[str, Any]) -> None:
    inputs = batch_of(prompts())
    expected = kept_of(model, BEST, inputs)[0]
    with Scope(model, BEST) as trace:
        made = model.generate(**inputs, max_new_tokens=2, **{"do_sample": False, **search})
    repeat = max(len(made) // len(expected), search.get("num_beams", 1))
    assert [kept.tolist() for kept in trace.stages[0].kept] == [kept for kept in expected for _ in range(repeat)]


def test_features_that_are_encoded_already_are_refused(model: PreTrainedModel) -> None:
    inputs = prompt(3, "image", 6).inputs
    with Scope(model, BEST), torch.no_grad():
        model(**inputs)  # what was seen of it is not of what comes next
        ready = model.model.get_image_features(inputs["pixel_values"], return_dict=True)
        with pytest.raises(UnsupportedUsageError, match="give pixel_values inside the scope"):
            model(input_ids=inputs["input_ids"], mm_encoder_outputs={"image": ready})


def test_videos_are_refused() -> None:
    entry = ZOO["llava_onevision"]
    model, inputs = entry.build(), entry.batch([entry.prompt(3, "image", 2, "video", 4)])
    with Scope(model, Plan((Cut(0, Ratio(0.5), Tower("received")),))), torch.no_grad():
        for run in (model, model.generate):
            with pytest.raises(UnsupportedUsageError, match="not of videos yet"):
                run(**inputs)


def test_another_feature_layer_is_refused(model: PreTrainedModel) -> None:
    inputs = prompt(3, "image", 6).inputs
    with Scope(model, BEST), torch.no_grad():
        model(**inputs, vision_feature_layer=-2)
        with pytest.raises(UnsupportedUsageError, match="vision_feature_layer=-1 is not the model's own"):
            model(**inputs, vision_feature_layer=-1)


def test_a_tower_without_a_class_token_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedModelError, match="'paligemma', a 'siglip_vision_model', has no class token: use"):
        Scope(ZOO["paligemma"].build(), BEST)
    with pytest.raises(UnsupportedModelError, match="is not known of a 'fuyu' "):
        Scope(ZOO["fuyu"].build(), BEST)


def test_a_compiled_tower_is_refused() -> None:
    entry = ZOO["llava"]
    model = entry.build()
    attention = model.model.vision_tower.encoder.layers[0].self_attn
    attention.forward = lambda hidden_states, **_: (hidden_states, None)  # passes over the attention function
    with Scope(model, BEST), pytest.raises(UnsupportedModelError, match="is it compiled"):
        model(**entry.batch([entry.prompt(3, "image", 2)]))


@pytest.mark.parametrize("rows", ["cls", "received"])
def test_chunks_and_padding_change_nothing(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Padding is neither read nor asked, and rows may be looked at a few at a time."""
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, 3, 7, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1, 5:] = False
    whole = patches_seen(rows, query, key, 0.5, mask)
    alone = patches_seen(rows, query[1:, :, :5], key[1:, :, :5], 0.5, None)
    torch.testing.assert_close(whole[1:, :5], alone)
    additive = torch.zeros(2, 1, 7, 7).masked_fill(~mask[:, None, None], torch.finfo(torch.float32).min)
    monkeypatch.setattr("visionflow.core.towers.CHUNK_ELEMENTS", 2 * 3 * 7 * 2)
    torch.testing.assert_close(patches_seen(rows, query, key, 0.5, additive), whole)


def test_scores_are_fp32_under_autocast() -> None:
    query, key = (torch.randn(1, 2, 5, 4).bfloat16() for _ in range(2))
    expected = patches_seen("received", query.float(), key.float(), 0.5, None)
    with torch.autocast("cpu", torch.bfloat16):
        seen = patches_seen("received", query, key, 0.5, None)
    assert seen.dtype == torch.float32
    assert torch.equal(seen, expected)
