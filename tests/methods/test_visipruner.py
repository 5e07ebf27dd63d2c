"""VisiPruner on its own: what fires, what stays, when it exits, what it falls back on, and what it costs."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Size, Tensor
from transformers import PreTrainedModel

from tests.engine.test_overhead import operations
from tests.exact import EXACTLY
from tests.matrix import models, prompts
from tests.reference import image_columns, instruction_columns
from tests.tiny import PER_IMAGE, Prompt, batch_of, positions, prompt
from visionflow import VisionFlowError, VisiPruner, prune
from visionflow.core import LayerAttention, Plan, Tokens, Watch, contribution, find_tokens
from visionflow.engines.hf.scope import Scope
from visionflow.methods.visipruner_phases import Phases, SamplePhases

NEVER, ALWAYS = -1.0, 1.0


def logits_of(model: PreTrainedModel, inputs: dict[str, Any]) -> Tensor:
    with torch.no_grad():
        return model(**inputs, position_ids=positions(inputs)).logits


def run(model: PreTrainedModel, method: VisiPruner, inputs: dict[str, Any]) -> tuple[Tensor, Any]:
    with prune(model, method) as trace:
        logits = logits_of(model, inputs)
    return logits, trace


def phases_of(model: PreTrainedModel, method: VisiPruner, inputs: dict[str, Any]) -> list[SamplePhases]:
    samples: list[SamplePhases] = run(model, method, inputs)[1].decisions[-1].samples
    return samples


# What fires and what stays ------------------------------------------------------------------------------------------


@models
def test_each_sample_has_its_own_firing_layer_tokens_and_exit_as_when_alone(model: PreTrainedModel) -> None:
    method = VisiPruner(2, 0.8, 0.3, 0.97, exit_patience=1, fallback_layer=4)
    samples = [*prompts(), *(prompt(5, "image", n, seed=n) for n in (7, 8, 11))]
    together = phases_of(model, method, batch_of(samples))
    for found, sample in zip(together, samples, strict=True):
        [alone] = phases_of(model, method, sample.inputs)
        assert (found.firing_layer, found.exit_layer) == (alone.firing_layer, alone.exit_layer)
        start = max(len(p.ids) for p in samples) - len(sample.ids)
        assert (found.kept - start).tolist() == alone.kept.tolist()
        torch.testing.assert_close(found.similarity, alone.similarity, **EXACTLY)
        torch.testing.assert_close(found.norm, alone.norm, **EXACTLY)
    assert len({found.firing_layer for found in together}) >= 3
    assert len({found.exit_layer for found in together}) >= 2


@pytest.mark.parametrize("model", [("llava", "eager"), ("llava-grouped", "eager")], indirect=True)
def test_scores_and_firing_follow_from_eager_attention(model: PreTrainedModel) -> None:
    """From the model's own attention weights and values of a dense run, by the definitions."""
    inputs = prompt(5, "image", 3, "image", 8, seed=7).inputs
    method = VisiPruner(1, 0.85, 0.5, phases=("middle",))
    values: list[Tensor] = []
    handles = [
        layer.self_attn.v_proj.register_forward_hook(lambda _, __, out: values.append(out))
        for layer in model.model.language_model.layers
    ]
    with torch.no_grad():
        attentions = model(**inputs, output_attentions=True).attentions
    for handle in handles:
        handle.remove()
    image = image_columns(inputs, 0)
    for layer in range(1, 6):
        weights = attentions[layer][0, :, -1]
        value = values[layer][0].unflatten(1, (-1, 8)).transpose(0, 1)
        value = value.repeat_interleave(weights.shape[0] // value.shape[0], 0)
        each = (weights[:, :, None] * value).transpose(0, 1).flatten(1)
        whole = each.sum(0)
        similarity = torch.cosine_similarity(whole - each, whole, dim=1)[image]
        if (similarity < 0.85).any():
            break
    norm = each.norm(dim=1)[image]
    [found] = phases_of(model, method, inputs)
    assert found.firing_layer == layer
    stays = (norm > 0.5).nonzero()[:, 0]
    assert found.kept.tolist() == [image[place] for place in stays]
    torch.testing.assert_close(found.norm, norm[stays], **EXACTLY)
    torch.testing.assert_close(found.similarity, similarity[stays], **EXACTLY)


@pytest.mark.parametrize("model", [("llava", "eager")], indirect=True)
@pytest.mark.parametrize("selection", ["last", "text", "image"])
def test_the_other_selection_rules_keep_as_many_by_attention(model: PreTrainedModel, selection: Any) -> None:
    inputs = prompt(5, "image", 9, seed=7).inputs
    method = VisiPruner(2, ALWAYS, 0.5, phases=("middle",), selection=selection)
    with torch.no_grad():
        attention = model(**inputs, output_attentions=True).attentions[2][0].mean(0)
    image = image_columns(inputs, 0)
    rows = {"last": [-1], "text": instruction_columns(inputs, 0), "image": image}[selection]
    [by_value] = phases_of(model, VisiPruner(2, ALWAYS, 0.5, phases=("middle",)), inputs)
    [found] = phases_of(model, method, inputs)
    best = attention[rows][:, image].sum(0).topk(len(by_value.kept)).indices.sort().values
    assert found.kept.tolist() == [image[place] for place in best]


def test_the_threshold_may_be_relative(model: PreTrainedModel) -> None:
    """To the length of the output in the layer that fires."""
    inputs = prompt(5, "image", 9, seed=7).inputs
    lengths: list[Tensor] = []
    watch = Watch([2], lambda layer: lengths.append(contribution(layer.rows_of("last"), layer.value).output_norm))
    with Scope(model, Plan(watches=(watch,))), torch.no_grad():
        model(**inputs)
    [all_of_them] = phases_of(model, VisiPruner(2, ALWAYS, 0.0, phases=("middle",)), inputs)
    [some] = phases_of(model, VisiPruner(2, ALWAYS, 0.1, phases=("middle",), token_scale="relative"), inputs)
    stays = all_of_them.norm > 0.1 * lengths[0][0]
    assert 1 < len(some.kept) < len(all_of_them.kept)
    assert some.kept.tolist() == all_of_them.kept[stays].tolist()


# Fallbacks and budgets ----------------------------------------------------------------------------------------------


@models
def test_where_nothing_fires_nothing_is_dropped(model: PreTrainedModel) -> None:
    inputs = batch_of(prompts())
    logits, trace = run(model, VisiPruner(2, NEVER, phases=("middle", "deep")), inputs)
    assert torch.equal(logits, logits_of(model, inputs))
    assert trace.stages == []
    assert all(sample.firing_layer is None for sample in trace.decisions[-1].samples)


def test_the_fallback_layer_fires_at_the_latest(model: PreTrainedModel) -> None:
    found = phases_of(model, VisiPruner(2, NEVER, fallback_layer=3), batch_of(prompts()))
    assert [sample.firing_layer for sample in found] == [3, 3, None, 3]


@pytest.mark.parametrize(("least", "most", "kept"), [(1, None, 1), (3, None, 3), (30, None, PER_IMAGE), (2, 2, 2)])
def test_a_budget_holds_whatever_the_threshold(model: PreTrainedModel, least: int, most: int | None, kept: int) -> None:
    method = VisiPruner(2, ALWAYS, 1e9, at_least=least, at_most=most, phases=("middle",))
    inputs = prompt(3, "image", 6).inputs
    [found] = phases_of(model, method, inputs)
    [everything] = phases_of(model, VisiPruner(2, ALWAYS, 0.0, phases=("middle",)), inputs)
    assert len(found.kept) == kept
    assert sorted(found.norm.tolist()) == sorted(everything.norm.tolist())[-kept:]
    [few] = phases_of(model, VisiPruner(2, ALWAYS, 0.0, at_most=4), inputs)
    assert len(few.kept) == 4


def test_all_may_go_at_once(model: PreTrainedModel) -> None:
    _, trace = run(model, VisiPruner(2, ALWAYS, 1e9, at_least=0), prompt(3, "image", 6).inputs)
    [found] = trace.decisions[-1].samples
    assert (found.firing_layer, found.exit_layer, len(found.kept)) == (2, 3, 0)
    assert trace.image_tokens[:, 0].tolist() == [PER_IMAGE] * 3 + [0] * 3


# Exit ---------------------------------------------------------------------------------------------------------------


def exit_layer(matters: list[bool], monkeypatch: pytest.MonkeyPatch, **options: Any) -> int | None:
    """The exit of a decider whose layers show, one after the other, whether a kept token matters."""
    tokens = find_tokens(torch.tensor([[5, 9, 9, 5]]), None, 9)
    phases = Phases(VisiPruner(0, ALWAYS, 0.0, **options), tokens)
    states = torch.ones(1, 1, 4, 2)
    monkeypatch.setattr(Phases, "_read", lambda self, shown, image: ([1], [1], [int(shows.pop(0))]))
    shows = [True, *matters]
    for layer in range(len(matters) + 1):
        if not phases.done:
            phases.decide(LayerAttention(layer, states, states, states, 1.0, None, states.transpose(1, 2), tokens))
    return phases.samples[0].exit_layer


@pytest.mark.parametrize(
    ("rule", "patience", "matters", "expected"),
    [
        ("consecutive", 2, [True, False, True, False, False, True], 6),
        ("cumulative", 2, [True, False, True, False, False, True], 5),
        ("consecutive", 1, [True, False], 3),
        ("consecutive", 3, [False, False, True, False, False], None),
        ("cumulative", 3, [False, False, True, False, False], 5),
    ],
)
def test_the_exit_waits_for_quiet_layers(
    rule: str, patience: int, matters: list[bool], expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layer 0 fires; the layers after it show `matters`."""
    assert exit_layer(matters, monkeypatch, exit_rule=rule, exit_patience=patience) == expected


def test_without_the_deep_phase_the_kept_tokens_stay(model: PreTrainedModel) -> None:
    deep = VisiPruner(2, ALWAYS, 0.3, exit_threshold=NEVER, exit_patience=1)
    _, trace = run(model, deep, prompt(3, "image", 6).inputs)
    assert trace.image_tokens[-1, 0] == 0
    _, trace = run(model, VisiPruner(2, ALWAYS, 0.3, phases=("middle",)), prompt(3, "image", 6).inputs)
    assert trace.image_tokens[-1, 0] == trace.image_tokens[3, 0] > 0


# The shallow phase --------------------------------------------------------------------------------------------------


@models
@pytest.mark.parametrize("options", [{}, {"shallow_image_to_image": True}], ids=str)
def test_the_picture_reaches_no_text_in_the_shallow_phase(model: PreTrainedModel, options: dict[str, Any]) -> None:
    """Before its end the text's states are those of another picture."""
    one, other = (Prompt(prompt(3, "image", 6).ids, torch.randn(1, 3, 20, 20)) for _ in range(2))
    states = []
    with prune(model, VisiPruner(3, phases=("shallow",), **options)), torch.no_grad():
        for each in (one, other):
            states.append(model(**each.inputs, output_hidden_states=True).hidden_states)
    text = instruction_columns(one.inputs, 0)
    for layer in range(4):
        torch.testing.assert_close(states[0][layer][0, text], states[1][layer][0, text], **EXACTLY)
    assert (states[0][4][0, text] - states[1][4][0, text]).abs().max() > 1e-3


@pytest.mark.parametrize("cached", [False, True])
def test_the_cache_is_as_large_as_the_cost_says(model: PreTrainedModel, cached: bool) -> None:
    method = VisiPruner(2, 0.85, 0.3, 0.97, exit_patience=1, shallow_cache=cached)
    for inputs in (prompt(3, "image", 6).inputs, batch_of(prompts())):
        with prune(model, method) as trace, torch.no_grad():
            cache = model(**inputs).past_key_values
        held = sum(part.nbytes for layer in cache.layers for part in (layer.keys, layer.values))
        cost = trace.cost("paper")
        assert held == cost.kv_bytes_pruned < cost.kv_bytes_dense
        assert cache.get_seq_length() == inputs["input_ids"].shape[1]


def test_the_released_shallow_phase(model: PreTrainedModel) -> None:
    """Layer 0: the text's image mass goes to the first image token, image tokens keep what they read before it."""
    method = VisiPruner(2, phases=("shallow",), freed_mass="fold", shallow_image_to_image=True, shallow_cache=True)
    modes = {(block.mode, block.target, tuple(block.layers)) for block in method.blocks()}
    text = {
        (mode, target, (layer,)) for target in ("system", "instruction") for mode, layer in (("fold", 0), ("zero", 1))
    }
    assert modes == {("zero", "image", (0,))} | text
    assert method.plan().withheld == ()
    inputs = prompt(3, "image", 6).inputs
    seen: list[LayerAttention] = []
    for plan in (Plan(), method.plan()):
        watched = replace(plan, watches=(Watch([0], seen.append),))
        with Scope(model, watched), torch.no_grad():
            model(**inputs)
    free, released = seen
    weights = torch.cat([part for _, _, part in free.rows(free.tokens.valid).heads()], 2)
    value = free.value.repeat_interleave(free.query.shape[1] // free.value.shape[1], 1)[0]
    image = image_columns(inputs, 0)
    expected = weights[0].clone()
    expected[:, :, image] = 0.0  # image tokens lose what they read of each other
    text = instruction_columns(inputs, 0)
    expected[:, text, image[0]] = weights[0][:, text][:, :, image].sum(2)
    torch.testing.assert_close(released.output[0].transpose(0, 1), expected @ value, **EXACTLY)


# Cost ---------------------------------------------------------------------------------------------------------------


def test_one_read_for_each_layer_looked_at(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one for the counts of the spans, as for every method."""
    reads: list[tuple[str, Size]] = []

    def count(name: str) -> None:
        read = getattr(Tensor, name)
        monkeypatch.setattr(Tensor, name, lambda tensor: (reads.append((name, tensor.shape)), read(tensor))[1])

    count("cpu")
    count("tolist")
    inputs = batch_of([prompt(3, "image", 6), prompt(20, "image", 12)])
    with prune(model, VisiPruner(2, NEVER)), torch.no_grad():
        waits = operations(model, **inputs).waits
    tokens = inputs["input_ids"].shape[1]
    looked = ("cpu", (2, 3 * tokens + 1))  # which the host counts
    of_pass = [read for read in reads if len(read[1]) == 2]
    assert of_pass == [("tolist", (5, 2)), *[looked] * 3, ("tolist", (2, 2))]  # spans, layers 2 to 4, cache
    readable = 1  # whether something is left to read, once for all shallow layers
    assert waits == operations(model, **inputs).waits + readable


def test_layers_after_the_last_decision_are_not_looked_at(model: PreTrainedModel) -> None:
    _, trace = run(model, VisiPruner(1, ALWAYS, 0.3, phases=("middle",)), prompt(3, "image", 6).inputs)
    assert [look.layer for look in trace.work.probes] == [1]


# Refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"shallow_layers": -1}, "shallow_layers must be a whole number, at least 0, not -1"),
        ({"layer_threshold": 1.5}, "layer_threshold must be -1 to 1, for it is a cosine, not 1.5"),
        ({"token_threshold": -0.1}, "token_threshold must be 0 to inf"),
        ({"exit_patience": 0}, "exit_patience must be a whole number, at least 1"),
        ({"at_least": 3, "at_most": 2}, "at_most must be a whole number, at least 3, not 2"),
        ({"fallback_layer": 5}, "fallback_layer must be a whole number, at least 6, not 5"),
        ({"selection": "all"}, "selection must be one of value, last, text, image, not 'all'"),
        ({"exit_rule": "never"}, "exit_rule must be one of consecutive, cumulative"),
        ({"phases": ("deep",)}, "add 'middle' to phases"),
        ({"phases": "middle"}, "phases is a tuple of some of shallow, middle, deep, not 'middle'"),
        ({"phases": ("early",)}, "phases is a tuple of some of shallow, middle, deep"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(VisionFlowError) as refused:
        VisiPruner(**wrong)
    assert sentence in str(refused.value)


def test_a_model_too_shallow_is_refused(model: PreTrainedModel) -> None:
    with pytest.raises(VisionFlowError, match="shallow_layers=6 leaves nothing to cut in the model's 6 decoder layers"):
        prune(model, VisiPruner())
    with pytest.raises(VisionFlowError, match=r"fallback_layer=5 leaves nothing to cut .*: use 0 to 4"):
        prune(model, VisiPruner(2, fallback_layer=5))


def test_a_decider_knows_nothing_of_text_alone() -> None:
    tokens: Tokens = find_tokens(torch.tensor([[5, 6, 7]]), None, 9)
    assert Phases(VisiPruner(), tokens).done
