"""Both lenses against transformers' own hidden states and the weights written out."""

import copy
import json
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.exact import EXACTLY
from tests.flow.checks import assert_untouched, last_columns, sides
from tests.matrix import models, prompts
from tests.tiny import LAYERS, Prompt, batch_of, prompt
from visionflow import HiMAP, UnsupportedModelError, UnsupportedUsageError, VisionFlowError, prune
from visionflow.core import LayerAttention, Plan, Watch
from visionflow.engines.hf.scope import Scope
from visionflow.flow import logit_lens, value_output_lens, with_words
from visionflow.flow.lens import head_outputs


@pytest.fixture
def weighted(model: PreTrainedModel) -> PreTrainedModel:
    """The model with weights in its norms: where they are all one, to normalise twice is to normalise once."""
    model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, weight in model.model.language_model.named_parameters():
            if "norm" in name:
                weight.copy_(torch.rand(weight.shape, generator=generator) * 3 + 0.2)
    return model


def run(model: PreTrainedModel, inputs: dict[str, Any]) -> tuple[tuple[Tensor, ...], Tensor]:
    """Hidden states that enter each layer, and leave the last one, normalised; and the logits."""
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True, use_cache=False)
    return output.hidden_states, output.logits


def likeliest(logits: Tensor, top: int) -> tuple[Tensor, Tensor]:
    probabilities, ids = logits.detach().softmax(-1).topk(top)
    return ids, probabilities


@models
def test_the_last_hidden_state_of_transformers_is_already_normalised(weighted: PreTrainedModel) -> None:
    """Why the lens does not read them: a norm at every depth would be one too many at the last."""
    states, logits = run(weighted, prompt(3, "image", 6).inputs)
    assert len(states) == LAYERS + 1
    torch.testing.assert_close(weighted.lm_head(states[-1]), logits)
    again = weighted.lm_head(weighted.model.language_model.norm(states[-1]))
    assert (again - logits).abs().max() > 0.01


@models
@sides
def test_logit_lens_normalises_once_at_every_depth(weighted: PreTrainedModel, side: str) -> None:
    inputs = batch_of(prompts(), side)
    lens = logit_lens(weighted, inputs, top=3)
    states, logits = run(weighted, inputs)
    assert lens.ids.shape == lens.probabilities.shape == (4, LAYERS + 1, 3)
    for sample, last in enumerate(last_columns(inputs)):
        at_last = [weighted.lm_head(weighted.model.language_model.norm(state[sample, last])) for state in states[:-1]]
        for depth, expected in enumerate([*at_last, logits[sample, last]]):
            ids, probabilities = likeliest(expected, 3)
            assert lens.ids[sample, depth].tolist() == ids.tolist()
            torch.testing.assert_close(lens.probabilities[sample, depth], probabilities, **EXACTLY)


@models
@sides
def test_value_output_lens_is_the_definition(weighted: PreTrainedModel, side: str) -> None:
    """Each query head's own columns of W_O, on the value of its group at the last prompt token."""
    inputs = batch_of(prompts(), side)
    lens = value_output_lens(weighted, inputs, top=3)
    states, _ = run(weighted, inputs)
    decoder = weighted.model.language_model
    heads, kv_heads = weighted.config.text_config.num_attention_heads, weighted.config.text_config.num_key_value_heads
    assert lens.layers == tuple(range(LAYERS))
    assert lens.ids.shape == lens.probabilities.shape == (4, LAYERS, heads, 3)
    for layer in range(LAYERS):
        attention = decoder.layers[layer].self_attn
        size = attention.head_dim
        for sample, last in enumerate(last_columns(inputs)):
            values = attention.v_proj(decoder.layers[layer].input_layernorm(states[layer][sample, last]))
            for head in range(heads):
                group = head // (heads // kv_heads)
                value = values[group * size : (group + 1) * size]
                written = attention.o_proj.weight[:, head * size : (head + 1) * size] @ value
                ids, probabilities = likeliest(weighted.lm_head(decoder.norm(written)), 3)
                assert lens.ids[sample, layer, head].tolist() == ids.tolist()
                torch.testing.assert_close(lens.probabilities[sample, layer, head], probabilities, **EXACTLY)


@models
@pytest.mark.parametrize("biased", [False, True])
def test_what_the_heads_write_adds_up_to_the_attention_block(model: PreTrainedModel, biased: bool) -> None:
    """A prompt of one token reads itself alone, so the block's output is the heads' sum, and the bias of none."""
    model = copy.deepcopy(model)
    projection = model.model.language_model.layers[2].self_attn.o_proj
    if biased:
        projection.bias = torch.nn.Parameter(torch.linspace(-1, 1, projection.out_features, dtype=model.dtype))
    blocks: list[Tensor] = []
    written: list[Tensor] = []
    handle = model.model.language_model.layers[2].self_attn.register_forward_hook(
        lambda module, args, output: blocks.append(output[0])
    )

    def look(attention: LayerAttention) -> None:
        written.append(head_outputs(attention, projection))

    with Scope(model, Plan(watches=(Watch([2], look),))), torch.no_grad():
        model(input_ids=torch.tensor([[7]]))
    handle.remove()
    expected = blocks[0][0, 0] - (projection.bias if biased else 0)
    torch.testing.assert_close(written[0][0].sum(0), expected, **EXACTLY)


@models
@sides
def test_each_sample_gets_what_it_gets_alone(model: PreTrainedModel, side: str) -> None:
    batch = batch_of(prompts(), side)
    lens, values = logit_lens(model, batch), value_output_lens(model, batch)
    for sample, one in enumerate(prompts()):
        alone, alone_values = logit_lens(model, one.inputs), value_output_lens(model, one.inputs)
        assert torch.equal(lens.ids[sample], alone.ids[0])
        torch.testing.assert_close(lens.probabilities[sample], alone.probabilities[0], **EXACTLY)
        assert torch.equal(values.ids[sample], alone_values.ids[0])
        torch.testing.assert_close(values.probabilities[sample], alone_values.probabilities[0], **EXACTLY)


@models
def test_the_model_is_left_as_it_was(model: PreTrainedModel) -> None:
    inputs = batch_of(prompts())
    assert_untouched(model, inputs, lambda: logit_lens(model, inputs))
    assert_untouched(model, inputs, lambda: value_output_lens(model, inputs))
    broken = {**inputs, "pixel_values": inputs["pixel_values"][:1]}
    for lens in (logit_lens, value_output_lens):
        with pytest.raises(ValueError, match=r"[Ii]mage"):
            assert_untouched(model, inputs, lambda lens=lens: lens(model, broken))  # type: ignore[misc]
        assert_untouched(model, inputs, lambda: None)


def test_chosen_layers_come_in_the_order_asked_for(model: PreTrainedModel) -> None:
    inputs = batch_of(prompts())
    every, some = value_output_lens(model, inputs), value_output_lens(model, inputs, layers=[4, 1])
    assert some.layers == (4, 1)
    assert torch.equal(some.ids, every.ids[:, [4, 1]])
    assert torch.equal(some.probabilities, every.probabilities[:, [4, 1]])


def test_nothing_needs_gradients_or_half_precision_probabilities() -> None:
    from tests.matrix import model_of

    lens = logit_lens(model_of("llava", "sdpa", torch.bfloat16), _half(prompt(3, "image", 6)))
    assert lens.probabilities.dtype == torch.float32
    assert not lens.probabilities.requires_grad


def _half(one: Prompt) -> dict[str, Any]:
    return {**one.inputs, "pixel_values": one.pictures.bfloat16()}


def test_rows_are_json_and_words_are_the_tokenizers(model: PreTrainedModel) -> None:
    class Numbers:
        def decode(self, token_ids: list[int]) -> str:
            return f"<{token_ids}>"

    inputs = batch_of(prompts()[:2])
    lens, values = logit_lens(model, inputs, top=2), value_output_lens(model, inputs, layers=[5, 0], top=2)
    rows = json.loads(json.dumps(lens.rows()))
    assert [(row["sample"], row["depth"]) for row in rows] == [(s, d) for s in range(2) for d in range(LAYERS + 1)]
    assert rows[8] == {
        "sample": 1,
        "depth": 1,
        "ids": lens.ids[1, 1].tolist(),
        "probabilities": lens.probabilities[1, 1].tolist(),
    }
    rows = json.loads(json.dumps(values.rows()))
    assert [(row["sample"], row["layer"], row["head"]) for row in rows] == [
        (s, layer, h) for s in range(2) for layer in (5, 0) for h in range(4)
    ]
    assert rows[6]["ids"] == values.ids[0, 1, 2].tolist()
    assert rows[6]["probabilities"] == values.probabilities[0, 1, 2].tolist()
    named = with_words(rows, Numbers())
    assert named[6] == {**rows[6], "words": [f"<[{token}]>" for token in rows[6]["ids"]]}


def test_wrong_input_is_refused(model: PreTrainedModel) -> None:
    inputs = prompt(3, "image", 6).inputs
    for lens in (logit_lens, value_output_lens):
        for top in (0, 129):
            with pytest.raises(VisionFlowError, match=f"top is {top}: .* 128"):
                lens(model, inputs, top=top)
        with pytest.raises(UnsupportedUsageError, match="whole prompt"):
            lens(model, {"attention_mask": inputs["attention_mask"]})
        with pytest.raises(UnsupportedModelError, match="LlavaModel has no head"):
            lens(model.model, inputs)
        with prune(model, HiMAP(2, 0.5, 4, 0.75)), pytest.raises(UnsupportedUsageError, match="do not nest"):
            lens(model, inputs)
    with pytest.raises(UnsupportedUsageError, match="layers is empty"):
        value_output_lens(model, inputs, layers=[])
    with pytest.raises(UnsupportedUsageError, match="0 to 5"):
        value_output_lens(model, inputs, layers=[6])
    assert_untouched(model, inputs, lambda: None)
