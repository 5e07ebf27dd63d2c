"""Answers without the picture's keys, against caches that are masked or shortened by hand."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from tests.exact import ROUNDED
from tests.flow.checks import assert_untouched
from tests.matrix import models, prompts
from tests.reference import image_columns
from tests.tiny import IMAGE_TOKEN, LAYERS, batch_of, prompt
from visionflow import UnsupportedUsageError
from visionflow.core import Tokens
from visionflow.core.tokens import GroupName
from visionflow.flow import withhold

NEW = 6


def answer(model: PreTrainedModel, inputs: dict[str, Any]) -> Tensor:
    """The scores of each generated token, ``[NEW, batch, vocabulary]``, which generate gives in fp32."""
    output = model.generate(
        **inputs, max_new_tokens=NEW, do_sample=False, return_dict_in_generate=True, output_scores=True
    )
    return torch.stack(output.scores)


@torch.no_grad()
def answer_blind(model: PreTrainedModel, inputs: dict[str, Any]) -> Tensor:
    """The same, decoded by hand: after the prompt the attention mask hides the image columns in all layers."""
    mask = inputs["attention_mask"]
    place = mask.sum(1, keepdim=True)
    output = model(**inputs, position_ids=(mask.cumsum(1) - 1).clamp(min=0))
    mask = mask.masked_fill(inputs["input_ids"] == IMAGE_TOKEN, 0)
    scores = [output.logits[:, -1]]
    for step in range(NEW - 1):
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        output = model(
            input_ids=scores[-1].argmax(-1, keepdim=True),
            attention_mask=mask,
            position_ids=place + step,
            past_key_values=output.past_key_values,
        )
        scores.append(output.logits[:, -1])
    return torch.stack(scores).float()


@torch.no_grad()
def answer_shortened(model: PreTrainedModel, inputs: dict[str, Any], layers: Sequence[int]) -> Tensor:
    """The same of one sample, decoded on a cache that has lost the image's keys and values in `layers`."""
    length = inputs["input_ids"].shape[1]
    kept = sorted(set(range(length)) - set(image_columns(inputs, 0)))
    output = model(**inputs)
    cache: DynamicCache = output.past_key_values
    for layer in layers:
        cache.layers[layer].keys = cache.layers[layer].keys[:, :, kept]
        cache.layers[layer].values = cache.layers[layer].values[:, :, kept]
    scores = [output.logits[:, -1]]
    for step in range(NEW - 1):
        token, place = scores[-1].argmax(-1, keepdim=True), torch.tensor([[length + step]])
        scores.append(model(input_ids=token, position_ids=place, past_key_values=cache).logits[:, -1])
    return torch.stack(scores).float()


@models
def test_withholding_in_no_layer_is_the_identity(model: PreTrainedModel) -> None:
    inputs = batch_of(prompts())
    free = answer(model, inputs)
    with withhold(model, []):
        assert torch.equal(answer(model, inputs), free)


@models
def test_in_all_layers_the_answer_is_that_of_a_masked_cache(model: PreTrainedModel) -> None:
    inputs = batch_of(prompts())
    free = answer(model, inputs)
    with withhold(model, range(LAYERS)):
        blind = answer(model, inputs)
    torch.testing.assert_close(blind, answer_blind(model, inputs), **ROUNDED)
    torch.testing.assert_close(blind[0], free[0])  # chosen by the prompt, which reads its picture
    for sample, changed in enumerate((blind[1:] - free[1:]).abs().amax((0, 2)) > 1e-3):
        assert bool(changed) == (sample != 2)  # sample 2 has no picture


@pytest.mark.parametrize("model", [("llava", "sdpa"), ("llava-grouped", "sdpa")], indirect=True)
@pytest.mark.parametrize("layers", [range(2, 5), [5], [0, 3]], ids=str)
def test_in_some_layers_the_answer_is_that_of_a_shortened_cache(model: PreTrainedModel, layers: Sequence[int]) -> None:
    """sdpa without padding takes no mask in decoding, so the layers of a cache may differ in length."""
    inputs = prompts()[1].inputs
    with withhold(model, layers):
        withheld = answer(model, inputs)
    torch.testing.assert_close(withheld, answer_shortened(model, inputs, layers), **ROUNDED)
    assert (withheld - answer(model, inputs)).abs().max() > 1e-3


@models
@pytest.mark.parametrize("source", ["image", "system"])
def test_each_sample_gets_what_it_gets_alone(model: PreTrainedModel, source: GroupName) -> None:
    """Also the one without a picture: all of its tokens are system tokens, and none is withheld."""
    with withhold(model, [1, 4], source):
        batch = answer(model, batch_of(prompts()))
        for sample, one in enumerate(prompts()):
            torch.testing.assert_close(batch[:, sample], answer(model, one.inputs)[:, 0], **ROUNDED)


def test_other_tokens_can_be_withheld(model: PreTrainedModel) -> None:
    def picture(tokens: Tokens) -> Tensor:
        return tokens.image.mask

    inputs = batch_of(prompts())
    with withhold(model, range(LAYERS)):
        image = answer(model, inputs)
    with withhold(model, range(LAYERS), picture):
        assert torch.equal(answer(model, inputs), image)
    with withhold(model, range(LAYERS), "instruction"):
        assert not torch.equal(answer(model, inputs), image)


@models
def test_the_model_is_left_as_it_was(model: PreTrainedModel) -> None:
    inputs = batch_of(prompts())

    def fails() -> None:
        def stop(*args: Any) -> None:
            raise KeyError("inside")

        with pytest.raises(KeyError, match="inside"), withhold(model, range(LAYERS)):
            model.generate(**inputs, max_new_tokens=NEW, do_sample=False, stopping_criteria=[stop])

    assert_untouched(model, inputs, fails)
    free = answer(model, inputs)
    handle = withhold(model, range(LAYERS))
    handle.remove()
    assert torch.equal(answer(model, inputs), free)


def test_wrong_input_is_refused(model: PreTrainedModel) -> None:
    with pytest.raises(UnsupportedUsageError, match="0 to 5"):
        withhold(model, [6])
    with pytest.raises(UnsupportedUsageError, match="no group 'pictures'"):
        withhold(model, [0], "pictures")  # type: ignore[arg-type]
    assert_untouched(model, prompt(3, "image", 6).inputs, lambda: None)
