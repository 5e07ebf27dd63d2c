"""What methods keep is what their papers' formulas keep, of the model's own eager attention, features and keys."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests import formulas
from tests.matrix import model_of
from tests.reference import Keep, image_columns, instruction_columns
from tests.tiny import prompt, tiny_llava
from visionflow import (
    DART,
    SCOPE,
    AutoPrune,
    CDPruner,
    Cover,
    DeFT,
    FlowCut,
    Method,
    MMTok,
    SparseVLM,
    UnsupportedUsageError,
    prune,
)
from visionflow.flow.choices import noted
from visionflow.methods import VisionZip
from visionflow.serving.settings import Settings

INPUTS = prompt(5, "image", 3, "image", 8, seed=7).inputs
IMAGE, TEXT = image_columns(INPUTS, 0), instruction_columns(INPUTS, 0)


@pytest.fixture
def model() -> PreTrainedModel:
    return model_of("llava-grouped", "eager")


@torch.no_grad()
def dense(model: PreTrainedModel) -> Any:
    """The unpruned run: hidden states, attention and keys of all layers."""
    return model(**INPUTS, output_hidden_states=True, output_attentions=True)


@torch.no_grad()
def kept_by(model: PreTrainedModel, method: Method, stage: int = 0) -> list[int]:
    """Which image tokens `method` keeps, as places among them."""
    with prune(model, method) as trace:
        model(**INPUTS)
    return [IMAGE.index(column) for column in trace.stages[stage].kept[0].tolist()]


@torch.no_grad()
def saliency(model: PreTrainedModel, rows: str) -> Tensor:
    """What the class token reads of each patch, or all read of it, in the tower's own eager attention."""
    tower = model.model.vision_tower
    tower.set_attn_implementation("eager")
    try:
        read = tower(INPUTS["pixel_values"].to(model.dtype), output_attentions=True).attentions[-2].mean(1)
    finally:
        tower.set_attn_implementation("sdpa")
    return (read[:, 0, 1:] if rows == "cls" else read.sum(1)[:, 1:]).flatten()


@pytest.mark.parametrize("negated", [False, True])
def test_cdpruner(model: PreTrainedModel, negated: bool) -> None:
    inputs = dense(model).hidden_states[0][0]
    scores = formulas.relevance(inputs[IMAGE], inputs[TEXT], negated)
    assert kept_by(model, CDPruner(0.6, negated=negated)) == formulas.dpp(inputs[IMAGE], scores, 20)
    assert kept_by(model, CDPruner(0.6, 3, negated)) == formulas.dpp(inputs[IMAGE], scores, 20)


@pytest.mark.parametrize(("top", "k"), [(0.75, 0), (0.0, 0), (1.0, 3)])
def test_cover(model: PreTrainedModel, top: float, k: int) -> None:
    image = dense(model).hidden_states[0][0][IMAGE]
    unlike = -formulas.cosines(image, image.double().mean(0, keepdim=True))[:, 0]
    assert kept_by(model, Cover(0.7, k, top)) == formulas.cover(image, unlike, top, 15)


def test_mmtok(model: PreTrainedModel) -> None:
    inputs = dense(model).hidden_states[0][0]
    assert kept_by(model, MMTok(0.7)) == formulas.mmtok(inputs[IMAGE], inputs[TEXT], 15)


@pytest.mark.parametrize(("rows", "alpha"), [("cls", 1.0), ("cls", 0.0), ("received", 2.0)])
def test_scope(model: PreTrainedModel, rows: Any, alpha: float) -> None:
    inputs = dense(model).hidden_states[0][0]
    expected = formulas.scope(inputs[IMAGE], saliency(model, rows), alpha, 20)
    assert kept_by(model, SCOPE(0.6, alpha, rows)) == expected


@pytest.mark.parametrize("k", [0, 3])
def test_dart(model: PreTrainedModel, k: int) -> None:
    output = dense(model)
    hidden = output.hidden_states[k][0]
    keys = output.past_key_values.layers[k - 1].keys[0].transpose(0, 1).flatten(1) if k else hidden
    lengths = keys[IMAGE].abs().sum(1), keys[TEXT].abs().sum(1)
    expected = formulas.dart(hidden[IMAGE], hidden[TEXT], lengths, (4, 3), 25)
    assert kept_by(model, DART(k, 0.5, 4, 3)) == expected


@pytest.mark.parametrize("recycle", [True, False])
def test_sparsevlm(model: PreTrainedModel, recycle: bool) -> None:
    output = dense(model)
    inputs, hidden = output.hidden_states[0][0], output.hidden_states[2][0]
    rows = [TEXT[each] for each in formulas.raters(inputs[IMAGE], inputs[TEXT])]
    assert 0 < len(rows) < len(TEXT)
    scores = output.attentions[1][0].mean(0)[rows][:, IMAGE].mean(0)
    expected, into = formulas.recycled(hidden[IMAGE], scores.tolist(), 25)
    if not recycle:
        expected, into = sorted(scores.topk(25).indices.tolist()), {}
    with prune(model, SparseVLM((2,), (0.5,), recycle)) as trace, torch.no_grad():
        model(**INPUTS)
    assert [IMAGE.index(column) for column in trace.stages[0].kept[0].tolist()] == expected
    moves = trace.stages[0].merged[0].T.tolist() if trace.stages[0].merged else []
    assert {IMAGE.index(moved): IMAGE.index(target) for moved, target in moves} == into


@pytest.mark.parametrize("when", ["entry", "ran"])
def test_deft(model: PreTrainedModel, when: Any) -> None:
    method = DeFT(0.7, 3, when=when)
    first = sorted(saliency(model, "cls").topk(22).indices.tolist())
    assert kept_by(model, method) == first
    columns = torch.tensor([IMAGE[each] for each in first])
    with prune(model, Keep({0: [columns]}, method.plan())), torch.no_grad():
        weights = model(**INPUTS, output_attentions=True).attentions[3 - (when == "ran")][0].mean(0)
    present = [column for column in range(INPUTS["input_ids"].shape[1]) if column not in IMAGE or column in columns]
    text, image = ([present.index(column) for column in group] for group in (TEXT, columns.tolist()))
    best = weights[text][:, image].sum(0).topk(15).indices.tolist()
    assert kept_by(model, method, 1) == sorted(first[each] for each in best)


def test_deft_without_alpha_is_a_tower_alone(model: PreTrainedModel) -> None:
    assert DeFT(0.5, 3, 0.0).plan().image_tokens(50, 6) == [25] * 6
    assert kept_by(model, DeFT(0.5, 3, 0.0)) == kept_by(model, VisionZip(0.5, 0.0))


def test_the_papers_counts() -> None:
    assert DeFT(0.7413).plan().image_tokens(576, 32) == [235] * 16 + [150] * 16
    assert SparseVLM().plan().image_tokens(576, 32) == [576] * 3 + [309] * 4 + [204] * 9 + [113] * 16
    assert [CDPruner(r).plan().image_tokens(576, 1) for r in (7 / 9, 8 / 9)] == [[128], [64]]


def test_autoprune(model: PreTrainedModel) -> None:
    """Each sample's curve is that of its own information; its tokens are those that the text reads most."""
    method = AutoPrune(0.5, 6, 0, steepness=2.0, sensitivity=0.5)
    attention = dense(model).attentions[0][0].mean(0)[TEXT][:, IMAGE]
    given = attention / attention.sum(1, keepdim=True)
    information = float((torch.xlogy(given, given) - torch.xlogy(given, given.mean(0))).sum(1).mean())
    with prune(model, method) as trace, torch.no_grad():
        model(**INPUTS)
    told = trace.decisions[-1].tell(0)
    assert told["information"] == pytest.approx(information, abs=1e-5)
    assert told["counts"] == trace.image_tokens[:, 0].tolist() == method.counts(50, information)
    first = sorted(attention.sum(0).topk(told["counts"][1]).indices.tolist())
    assert [IMAGE.index(column) for column in trace.stages[0].kept[0].tolist()] == first


@pytest.mark.parametrize("depth", [4, 32])
def test_autoprune_for_another_depth_is_refused(model: PreTrainedModel, depth: int) -> None:
    """Its share would be that over other layers, and of a shallower model nothing might go."""
    method = AutoPrune(0.5, depth)
    with pytest.raises(UnsupportedUsageError, match=f"is set for depth={depth} .* has 6: use depth=6"):
        prune(model, method)
    noticed = noted(method.plan(), print)
    with pytest.raises(UnsupportedUsageError, match=f"is set for depth={depth} .* has 6"):
        noticed.check_depth(6)
    noticed.check_depth(depth)


def test_the_budget_of_autoprune_holds_whatever_the_information() -> None:
    """And more information makes the curve flatter; at none it is the logistic one."""
    method = AutoPrune(0.75)
    curves = [method.counts(576, information) for information in (0.0, 0.5, 1.0, 5.0)]
    for counts in curves:
        assert sum(counts) / 32 == pytest.approx(144, abs=1)
        assert counts[:2] == [576, 576]
        assert counts == sorted(counts, reverse=True)
    ends = [counts[-1] for counts in curves]
    assert ends == sorted(ends)
    assert len({*curves[-1][2:]}) == 1
    few = curves[0][2:]
    assert all(0 < value <= 576 for value in few)
    with pytest.raises(UnsupportedUsageError, match="where it cuts depends on activations"):
        Settings.of(method, 32, (1,), 4096)


@torch.no_grad()
@pytest.mark.parametrize("projected", [-2, -1])
def test_flowcut(projected: int) -> None:
    """Of one layer of the tower and of two, with eager attention: values by hand."""
    model = tiny_llava(dtype=torch.float64)
    model.config.vision_feature_layer = projected
    tower = model.model.vision_tower
    tower.set_attn_implementation("eager")
    try:
        output = tower(INPUTS["pixel_values"].to(model.dtype), output_attentions=True, output_hidden_states=True)
    finally:
        tower.set_attn_implementation("sdpa")
    total = None
    for number, layer in enumerate(tower.encoder.layers[: 3 + projected]):
        entering = layer.layer_norm1(output.hidden_states[number])
        value = layer.self_attn.v_proj(entering).unflatten(2, (2, -1)).transpose(1, 2)
        read = output.attentions[number].mean(1)[:, 0, 1:]
        alike = (value[:, :, :1] @ value.transpose(2, 3)).softmax(3).mean(1)[:, 0, 1:]
        shares = read / read.sum(1, keepdim=True) + alike / alike.sum(1, keepdim=True)
        score = shares * value.mean(1)[:, 1:].abs().sum(2)
        total = score if total is None else (total + score) / 2
    assert total is not None
    assert kept_by(model, FlowCut(0.6)) == sorted(total.flatten().topk(20).indices.tolist())
