"""Disruption: exactly the named flow, in exactly the named layers, and a random control that can be repeated."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.exact import EXACTLY
from tests.matrix import models, prompts
from tests.reference import image_columns, instruction_columns
from tests.tiny import IMAGE_TOKEN, LAYERS, batch_of, positions, prompt
from visionflow.core import Block, Plan, Tokens, find_tokens
from visionflow.engines.hf.scope import Scope
from visionflow.errors import UnsupportedUsageError, VisionFlowError
from visionflow.flow import disrupt
from visionflow.flow.disruption import layers_named, random_rows

FLOWS: list[dict[str, Any]] = [
    {"source": "image", "target": "instruction"},
    {"source": "image", "target": "image"},
    {"source": "image", "target": "random", "seed": 3},
]

flows = pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow["target"])
modes = pytest.mark.parametrize("mode", ["renormalise", "zero"])
sides = pytest.mark.parametrize("side", ["left", "right"])


def states(model: PreTrainedModel, inputs: dict[str, Any]) -> tuple[Tensor, ...]:
    """Hidden states before each layer and after the last."""
    with torch.no_grad():
        result: tuple[Tensor, ...] = model(
            **inputs, position_ids=positions(inputs), output_hidden_states=True
        ).hidden_states
    return result


def tokens_of(inputs: dict[str, Any]) -> Tokens:
    return find_tokens(inputs["input_ids"], inputs["attention_mask"], IMAGE_TOKEN)


def valid_columns(inputs: dict[str, Any], sample: int) -> list[int]:
    return torch.nonzero(inputs["attention_mask"][sample]).flatten().tolist()


@models
@flows
@modes
def test_no_layers_disrupt_nothing(model: PreTrainedModel, flow: dict[str, Any], mode: Any) -> None:
    inputs = batch_of(prompts())
    with torch.no_grad():
        expected = model(**inputs).logits
        with disrupt(model, **flow, layers=[], mode=mode):
            assert torch.equal(model(**inputs).logits, expected)


@models
@flows
@modes
@sides
def test_one_layer_changes_only_its_own_flow(
    model: PreTrainedModel, flow: dict[str, Any], mode: Any, side: str
) -> None:
    inputs = batch_of(prompts(), side)
    free = states(model, inputs)
    with disrupt(model, **flow, layers=[3], mode=mode):
        disrupted = states(model, inputs)
    for layer in range(4):  # before layer 3 nothing has happened
        assert torch.equal(free[layer], disrupted[layer])
    for sample in range(4):
        valid, image, text = (of(inputs, sample) for of in (valid_columns, image_columns, instruction_columns))
        change = (disrupted[4][sample] - free[4][sample]).abs().amax(1)
        changed = [column for column in valid if change[column] > 1e-4]
        if flow["target"] == "random":
            assert len(changed) == len(text)
            assert set(changed) <= {*image, *text}
        else:
            assert changed == (text if flow["target"] == "instruction" else image)
        others = [column for column in valid if column not in changed]
        assert change[others].max() <= (0 if mode == "zero" else 1e-5)


@flows
@modes
def test_disruption_is_the_block_of_the_named_rows(model: PreTrainedModel, flow: dict[str, Any], mode: Any) -> None:
    """In every layer of one scope the random rows are the same ones."""
    inputs = batch_of(prompts())
    rows = random_rows(tokens_of(inputs), 3)
    target = (lambda tokens: rows) if flow["target"] == "random" else flow["target"]
    with Scope(model, Plan(blocks=(Block([1, 4], "image", target, mode),))):
        expected = states(model, inputs)
    with disrupt(model, **flow, layers=[1, 4], mode=mode):
        for _ in range(2):  # and in every pass
            found = states(model, inputs)
            for one, other in zip(found, expected, strict=True):
                assert torch.equal(one, other)


@models
@flows
@modes
@sides
def test_batch_equals_single(model: PreTrainedModel, flow: dict[str, Any], mode: Any, side: str) -> None:
    inputs = batch_of(prompts(), side)
    with disrupt(model, **flow, layers=range(LAYERS), mode=mode):
        together = states(model, inputs)[-1]
        for sample, alone in enumerate(prompts()):
            mine = together[sample][inputs["attention_mask"][sample].bool()]
            torch.testing.assert_close(mine, states(model, alone.inputs)[-1][0], **EXACTLY)


@pytest.mark.parametrize("seed", [0, 1, 17, 2**63 - 1])
def test_random_rows_are_as_many_as_the_instruction_and_after_the_system_prompt(seed: int) -> None:
    for side in ("left", "right"):
        inputs = batch_of(prompts(), side)
        drawn = random_rows(tokens_of(inputs), seed)
        for sample in range(4):
            text = instruction_columns(inputs, sample)
            columns = torch.nonzero(drawn[sample]).flatten().tolist()
            assert len(columns) == len(text)
            assert set(columns) <= {*image_columns(inputs, sample), *text}


def test_random_rows_depend_on_the_seed_and_the_prompt_alone() -> None:
    left, right = batch_of(prompts(), "left"), batch_of(prompts()[::-1], "right")
    for seed in range(5):
        drawn, mirrored = random_rows(tokens_of(left), seed), random_rows(tokens_of(right), seed)
        for sample, alone in enumerate(prompts()):
            expected = random_rows(tokens_of(alone.inputs), seed)[0]
            assert torch.equal(drawn[sample][left["attention_mask"][sample].bool()], expected)
            assert torch.equal(mirrored[3 - sample][right["attention_mask"][3 - sample].bool()], expected)


def test_another_seed_or_prompt_draws_other_rows() -> None:
    same_shape = [prompt(3, "image", 12, seed=seed) for seed in range(6)]
    by_prompt = random_rows(tokens_of(batch_of(same_shape)), 0)
    assert len({tuple(rows) for rows in by_prompt.tolist()}) == 6
    by_seed = [random_rows(tokens_of(same_shape[0].inputs), seed)[0] for seed in range(6)]
    assert len({tuple(rows.tolist()) for rows in by_seed}) == 6


def test_every_token_after_the_system_prompt_is_drawn_equally_often() -> None:
    tokens, draws = tokens_of(prompt(3, "image", 11).inputs), 2000
    counts = sum(random_rows(tokens, seed)[0].int() for seed in range(draws))
    assert isinstance(counts, Tensor)
    share = 11 / 36
    five_sigma = 5 * (draws * share * (1 - share)) ** 0.5
    assert counts[:4].sum() == 0
    assert (counts[4:] - draws * share).abs().max() < five_sigma


@modes
def test_the_model_is_restored_after_an_exception(model: PreTrainedModel, mode: Any) -> None:
    def attached() -> list[Any]:
        hooks = [(list(module._forward_pre_hooks), list(module._forward_hooks)) for module in model.modules()]
        configs = [id(layer.self_attn.config) for layer in model.model.language_model.layers]
        return [hooks, configs, "generate" in vars(model)]

    inputs = batch_of(prompts())
    expected, before = states(model, inputs), attached()
    with pytest.raises(VisionFlowError, match="within"), disrupt(model, **FLOWS[2], layers=[0, 2], mode=mode):
        fail_within(model, inputs, attached() != before)
    assert attached() == before
    assert all(torch.equal(one, other) for one, other in zip(states(model, inputs), expected, strict=True))


def fail_within(model: PreTrainedModel, inputs: dict[str, Any], is_attached: bool) -> None:
    states(model, inputs)
    assert is_attached
    raise VisionFlowError("within")


def test_a_disruption_is_also_a_handle(model: PreTrainedModel) -> None:
    inputs = prompt(3, "image", 6).inputs
    free = states(model, inputs)[-1]
    handle = disrupt(model, source="image", target="instruction", layers=range(LAYERS))
    assert not torch.allclose(states(model, inputs)[-1], free)
    handle.remove()
    assert torch.equal(states(model, inputs)[-1], free)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"source": "picture"}, "source must be one of system, image, instruction, last, not 'picture'"),
        ({"source": "random", "seed": 0}, "source must be one of"),
        ({"target": "text"}, "target must be one of system, image, instruction, last, random, not 'text'"),
        ({"mode": "renormalize"}, "mode must be one of renormalise, skip, zero, fold"),
        ({"layers": 3}, "layers must be 0-based layer numbers"),
        ({"layers": ["3"]}, "layers must be 0-based layer numbers"),
        ({"layers": [1.5]}, "layers must be 0-based layer numbers"),
        ({"seed": 1}, "a seed is for target=\"random\" only: leave it out with target=\"image\""),
        ({"target": "random"}, "needs a seed"),
        ({"target": "random", "seed": -1}, "needs a seed from 0"),
        ({"target": "random", "seed": 2**63}, "needs a seed from 0"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(model: PreTrainedModel, wrong: dict[str, Any], sentence: str) -> None:
    given = {"source": "image", "target": "image", "layers": [1], **wrong}
    with pytest.raises(VisionFlowError) as refused:
        disrupt(model, **given)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("layers", [[LAYERS], [0, -1]])
def test_layers_the_model_does_not_have_are_refused(model: PreTrainedModel, layers: list[int]) -> None:
    with pytest.raises(UnsupportedUsageError, match="0 to 5"):
        disrupt(model, source="image", target="image", layers=layers)


@pytest.mark.parametrize(
    ("layers", "name"),
    [(range(5), "0-4"), ((2, 3), "2-3"), ([7], "7"), ((0, 1, 4), "0,1,4"), ([3, 2], "3,2"), ((), "none")],
)
def test_layers_in_a_row_are_named_by_their_ends(layers: Any, name: str) -> None:
    assert layers_named(layers) == name
