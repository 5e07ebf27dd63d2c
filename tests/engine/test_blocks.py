"""The third verb: flows that are blocked, in exactly the named layers."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.exact import EXACTLY
from tests.matrix import models, prompts
from tests.reference import HIDDEN, image_columns, instruction_columns
from tests.tiny import IMAGE_TOKEN, Prompt, batch_of, positions, prompt
from visionflow import UnsupportedUsageError
from visionflow.core import Block, LayerAttention, Plan, Watch, Withhold
from visionflow.core.flows import BlockMode
from visionflow.engines.hf.scope import Scope

TO_TEXT = {"source": "image", "target": "instruction"}


def states_of(model: PreTrainedModel, inputs: dict[str, Any], *blocks: Block) -> tuple[Tensor, ...]:
    """Hidden states before each layer and after the last."""
    with Scope(model, Plan(blocks=blocks)), torch.no_grad():
        states: tuple[Tensor, ...] = model(
            **inputs, position_ids=positions(inputs), output_hidden_states=True
        ).hidden_states
    return states


@models
def test_blocking_nothing_is_the_identity(model: PreTrainedModel) -> None:
    inputs = batch_of(prompts())
    with torch.no_grad():
        expected = model(**inputs).logits
        for blocks in [(), (Block([], "image", "instruction"),)]:
            with Scope(model, Plan(blocks=blocks)):
                assert torch.equal(model(**inputs).logits, expected)


def test_of_many_layers_beyond_the_depth_the_first_is_named() -> None:
    with pytest.raises(UnsupportedUsageError, match="a block names layer 4, the model has"):
        Plan(blocks=(Block(range(2, 100), **TO_TEXT),)).check_depth(4)


@models
@pytest.mark.parametrize("side", ["left", "right"])
def test_one_blocked_layer_changes_only_its_own_flow(model: PreTrainedModel, side: str) -> None:
    inputs = batch_of(prompts(), side)
    free = states_of(model, inputs)
    blocked = states_of(model, inputs, Block([3], **TO_TEXT))
    for layer in range(4):  # before layer 3 nothing has happened
        assert torch.equal(free[layer], blocked[layer])
    for sample in range(4):
        text = instruction_columns(inputs, sample)
        others = sorted(set(range(free[0].shape[1])) - set(text))
        torch.testing.assert_close(blocked[4][sample, others], free[4][sample, others], **EXACTLY)
        if text:
            changed = (blocked[4][sample, text] - free[4][sample, text]).abs().amax(1)
            assert (changed > 1e-3).all()


@pytest.mark.parametrize("model", [("llava-grouped", "eager")], indirect=True)
@pytest.mark.parametrize(("source", "target"), [("image", "instruction"), ("image", "image"), ("system", "image")])
def test_blocked_attention_is_zero_and_the_rest_is_renormalised(
    model: PreTrainedModel, source: str, target: str
) -> None:
    inputs = prompt(3, "image", 6).inputs
    groups = {"system": [0, 1, 2, 3], "image": image_columns(inputs, 0), "instruction": instruction_columns(inputs, 0)}
    with torch.no_grad():
        free = model(**inputs, output_attentions=True).attentions[2][0]
        with Scope(model, Plan(blocks=(Block([2], source, target),))):  # type: ignore[arg-type]
            blocked = model(**inputs, output_attentions=True).attentions[2][0]
    expected = free.clone()
    expected[:, torch.tensor(groups[target])[:, None], torch.tensor(groups[source])] = 0
    expected = expected / expected.sum(-1, keepdim=True)
    torch.testing.assert_close(blocked, expected, **EXACTLY)
    assert (free[:, groups[target]][..., groups[source]].sum() > 0.1).all()


@models
def test_blocks_hold_for_the_prompt_and_its_answer_goes_on(model: PreTrainedModel) -> None:
    """Generated tokens belong to no group: with the cache of the blocked prompt they read everything."""
    inputs = batch_of([prompt(3, "image", 6), prompt(20, "image", 12, seed=5)])
    block = Block(range(6), **TO_TEXT)
    with Scope(model, Plan(blocks=(block,))):
        blocked = model.generate(**inputs, max_new_tokens=5, do_sample=False)
    free = model.generate(**inputs, max_new_tokens=5, do_sample=False)
    assert not torch.equal(blocked, free)


@pytest.mark.parametrize("model", [("llava", "sdpa"), ("llava", "eager")], indirect=True)
def test_a_token_left_with_nothing_to_read_is_refused(model: PreTrainedModel) -> None:
    no_system = Prompt([IMAGE_TOKEN] * 25 + [5, 6], prompt("image").pictures)
    with (
        Scope(model, Plan(blocks=(Block([1], "image", "image"),))),
        pytest.raises(UnsupportedUsageError, match="nothing to read"),
    ):
        model(**no_system.inputs)


def test_layers_the_model_does_not_have_are_refused(model: PreTrainedModel) -> None:
    with pytest.raises(UnsupportedUsageError, match="0 to 5"):
        Scope(model, Plan(blocks=(Block([6], "image", "image"),)))


def test_blocks_need_the_prompt_in_one_piece(model: PreTrainedModel) -> None:
    with Scope(model, Plan(blocks=(Block([1], "image", "instruction"),))), torch.no_grad():
        cache = model(**prompt(3, "image", 6).inputs).past_key_values
        more = {k: v for k, v in prompt(2, "image", 6).inputs.items() if k != "attention_mask"}
        with pytest.raises(UnsupportedUsageError, match="one piece"):
            model(**more, past_key_values=cache)


def test_additive_and_bool_masks_agree(model: PreTrainedModel) -> None:
    """HIDDEN is what transformers' eager masks hold where nothing may be read."""
    from visionflow.engines.hf import masks

    allowed = torch.rand(1, 1, 4, 6) > 0.4
    additive = torch.zeros(allowed.shape).masked_fill(~allowed, HIDDEN)
    pairs = torch.rand(1, 1, 4, 6) > 0.7
    assert torch.equal(masks.readable(masks.forbid(additive, pairs)), masks.forbid(allowed, pairs))
    assert torch.equal(masks.readable(masks.allow(additive, pairs)), masks.allow(allowed, pairs))


def test_layers_after_a_blocked_one_run_free(model: PreTrainedModel) -> None:
    """Fed the blocked layer's output, the layer after it computes what it always does."""
    inputs = prompt(3, "image", 6).inputs
    states = states_of(model, inputs, Block([2], "image", "instruction"))
    layer = model.model.language_model.layers[3]
    rotary = model.model.language_model.rotary_emb(states[3], positions(inputs))
    with torch.no_grad():
        free = layer(states[3], position_embeddings=rotary)
    torch.testing.assert_close(states[4], free, **EXACTLY)


@pytest.mark.parametrize("model", [("llava-grouped", "eager"), ("llava", "sdpa")], indirect=True)
@pytest.mark.parametrize("side", ["left", "right"])
def test_zeroed_flow_is_gone_and_the_rest_stays_as_it_was(model: PreTrainedModel, side: str) -> None:
    """What the heads read without the pairs, against eager attention's own weights and values."""
    inputs = batch_of(prompts(), side)
    seen: list[LayerAttention] = []
    watch = Watch([2], seen.append)
    with torch.no_grad():
        with Scope(model, Plan(watches=(watch,))):
            model(**inputs)
        with Scope(model, Plan(blocks=(Block([2], "image", "instruction", "zero"),), watches=(watch,))):
            model(**inputs)
    free, zeroed = seen
    torch.testing.assert_close(zeroed.query, free.query)
    key, value = (x.repeat_interleave(free.query.shape[1] // x.shape[1], 1) for x in (free.key, free.value))
    for sample in range(4):
        image, text = image_columns(inputs, sample), instruction_columns(inputs, sample)
        others = sorted(set(range(free.query.shape[2])) - set(text))
        torch.testing.assert_close(zeroed.output[sample, others], free.output[sample, others])
        for row in text:
            scores = (free.query[sample, :, row, None] * key[sample, :, : row + 1]).sum(-1) * free.scaling
            scores[:, ~inputs["attention_mask"][sample, : row + 1].bool()] = -torch.inf
            weights = scores.softmax(-1)
            weights[:, [column for column in image if column <= row]] = 0
            expected = (weights[..., None] * value[sample, :, : row + 1]).sum(1)
            torch.testing.assert_close(zeroed.output[sample, row], expected, **EXACTLY)


@models
def test_withheld_keys_are_read_by_the_prompt_only(model: PreTrainedModel) -> None:
    """The answer goes on as it would from a cache whose keys of the picture are masked by hand."""
    inputs = batch_of([prompt(3, "image", 6), prompt(20, "image", 12, seed=5)])
    scope = Scope(model, Plan(withheld=(Withhold(range(6), "image"),)))
    with scope, torch.no_grad():
        first = model(**inputs)
        token = first.logits[:, -1:].argmax(-1)
        mask = torch.cat([inputs["attention_mask"], torch.ones(2, 1, dtype=torch.long)], 1)
        place = mask.sum(1, keepdim=True) - 1
        withheld = model(
            input_ids=token, attention_mask=mask, position_ids=place, past_key_values=first.past_key_values
        ).logits
    with torch.no_grad():
        free = model(**inputs)
        torch.testing.assert_close(first.logits, free.logits)
        blocked = mask.clone()
        blocked[:, :-1][inputs["input_ids"] == IMAGE_TOKEN] = 0
        expected = model(
            input_ids=token, attention_mask=blocked, position_ids=place, past_key_values=free.past_key_values
        ).logits
    torch.testing.assert_close(withheld, expected, **EXACTLY)


@models
def test_a_chosen_set_of_tokens_is_blocked_like_a_group(model: PreTrainedModel) -> None:
    inputs = batch_of(prompts())
    named = states_of(model, inputs, Block([3], "image", "instruction"))
    chosen = Block([3], lambda tokens: tokens.image.mask, lambda tokens: tokens.instruction.mask)
    for one, other in zip(named, states_of(model, inputs, chosen), strict=True):
        assert torch.equal(one, other)


@models
def test_watching_changes_no_bit(model: PreTrainedModel) -> None:
    inputs = batch_of(prompts())
    layers: list[int] = []
    with torch.no_grad():
        expected = model(**inputs).logits
        with Scope(model, Plan(watches=(Watch([0, 4], lambda seen: layers.append(seen.layer)),))):
            assert torch.equal(model(**inputs).logits, expected)
    assert layers == [0, 4]


@models
@pytest.mark.parametrize("mode", ["renormalise", "zero"])
def test_a_sample_without_a_picture_is_left_alone_in_any_company(model: PreTrainedModel, mode: BlockMode) -> None:
    text_only = prompt(9, seed=4)
    inputs = batch_of([prompt(3, "image", 6), text_only])
    with torch.no_grad():
        expected = model(**text_only.inputs).logits[0, -1]
        with Scope(model, Plan(blocks=(Block([2], "system", "last", mode),))):
            blocked = model(**inputs, position_ids=positions(inputs)).logits[:, -1]
        free = model(**inputs, position_ids=positions(inputs)).logits[:, -1]
    torch.testing.assert_close(blocked[1], expected, **EXACTLY)
    assert (blocked[0] - free[0]).abs().max() > 1e-3
