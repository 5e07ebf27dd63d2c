"""Under ``torch.autocast`` layers run in bf16; scores and statistics are what fp32 makes of what these layers show."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.matrix import METHODS, AboveAverage, in_turns, model_of, prompts
from tests.tiny import batch_of, tiny_llava
from visionflow import FastV, HiMAP, Method, VisiPruner, prune
from visionflow.core import Attention, AttentionRows, Contribution, Cut, Plan, log_sum_exp, reductions
from visionflow.core.flows import Watch
from visionflow.core.layer import LayerAttention, folded, without
from visionflow.engines.hf.scope import Scope
from visionflow.flow import disrupt, picture_attention, saliency, sinks, value_norms
from visionflow.methods import visipruner_phases

BATCHES = {"padded": batch_of(prompts()), "unpadded": batch_of(prompts()[:1])}
batches = pytest.mark.parametrize("inputs", BATCHES.values(), ids=list(BATCHES))


@pytest.fixture
def model() -> PreTrainedModel:
    """In fp32, which autocast takes down to bf16; fp64 it would leave alone."""
    return model_of("llava-grouped", dtype=torch.float32)


def in_bf16() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


@in_turns("batch", [("padded",), ("unpadded",)], [[("padded",)], [("unpadded",)]], METHODS)
def test_every_method_runs(model: PreTrainedModel, method: Method, batch: str) -> None:
    inputs = BATCHES[batch]
    with in_bf16(), prune(model, method) as trace:
        logits = model(**inputs).logits
        tokens = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert logits.isfinite().all()
    assert tokens.shape[1] == inputs["input_ids"].shape[1] + 3
    assert trace.image_tokens[-1].sum() < trace.given_image_tokens.sum()


def matrix_product(rows: AttentionRows) -> Tensor:
    """A reduction as anyone may write it."""
    total = torch.zeros(rows.tokens.columns.shape)
    for index, _, weights in rows.chunks():
        total[:, : weights.shape[2]] += (torch.ones(len(index), 1, index.shape[1]) @ weights).squeeze(1)
    return total


@pytest.mark.parametrize(
    "method",
    [HiMAP(2, 0.5, 4, 0.75), HiMAP(1, 0.5, 3, 0.5, "received", exclude_self=True), FastV(2, 0.5), AboveAverage(2)],
    ids=str,
)
@pytest.mark.parametrize("reduce", [None, matrix_product], ids=["own", "another"])
@batches
def test_scores_are_those_of_fp32(
    model: PreTrainedModel, method: Method, reduce: Callable[..., Tensor] | None, inputs: dict[str, Any]
) -> None:
    """Of the queries and keys of the bf16 run, bit by bit what is computed outside; and so are the tokens kept."""
    seen: list[tuple[AttentionRows, Callable[[AttentionRows], Tensor], Tensor]] = []

    def spying(cut: Cut) -> Cut:
        assert isinstance(cut.evidence, Attention)
        own = reduce or cut.evidence.reduce

        def spy(rows: AttentionRows) -> Tensor:
            seen.append((rows, own, own(rows)))
            return seen[-1][2]

        return replace(cut, evidence=replace(cut.evidence, reduce=spy))

    with in_bf16(), Scope(model, Plan(tuple(map(spying, method.cuts())))) as trace:
        model(**inputs)
    for (rows, own, scores), stage in zip(seen, trace.stages, strict=True):
        assert scores.dtype == torch.float32
        assert torch.equal(own(rows), scores)
        chosen = own(rows).masked_fill(~rows.tokens.image.mask, -torch.inf)
        for sample, kept in enumerate(stage.kept):
            best = rows.tokens.columns[sample][chosen[sample].topk(len(kept)).indices]
            assert kept.tolist() == best.sort().values.tolist()


@batches
def test_what_visipruner_decides_on_is_that_of_fp32(
    model: PreTrainedModel, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[AttentionRows, Tensor, Contribution]] = []
    contribution = visipruner_phases.contribution

    def spy(rows: AttentionRows, value: Tensor) -> Contribution:
        seen.append((rows, value, contribution(rows, value)))
        return seen[-1][2]

    monkeypatch.setattr(visipruner_phases, "contribution", spy)
    with in_bf16(), prune(model, VisiPruner(2, 0.85, 0.3, 0.97, exit_patience=1)):
        model(**inputs)
    assert seen
    for rows, value, shown in seen:
        outside = contribution(rows, value)
        assert all(torch.equal(getattr(outside, name), part) for name, part in vars(shown).items())


@batches
def test_what_watches_compute_is_that_of_fp32(
    model: PreTrainedModel, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs without some reads, and the mass from the log-sum-exp."""
    monkeypatch.setattr(log_sum_exp, "_WORTHWHILE", {"cpu": 1})
    seen: list[tuple[LayerAttention, list[Tensor]]] = []

    def computed(attention: LayerAttention) -> list[Tensor]:
        rows, image = attention.rows_of("instruction"), attention.tokens.image.mask
        changed = [change(attention, rows, image) for change in (without, folded)]
        return [*changed, reductions.paid(attention.rows_of("image"), "image")]

    def look(attention: LayerAttention) -> None:
        seen.append((attention, computed(attention)))

    with in_bf16(), torch.no_grad(), Scope(model, Plan(watches=(Watch((1, 3), look),))):
        model(**inputs)
    for attention, found in seen:
        assert all(torch.equal(inside, outside) for inside, outside in zip(found, computed(attention), strict=True))


def test_saliency_sums_in_fp32(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("visionflow.flow.saliency")
    flows, seen = module._flows, []

    def spy(*args: Any) -> Tensor:
        seen.append((args, flows(*args)))
        return seen[-1][1]

    monkeypatch.setattr(module, "_flows", spy)
    with in_bf16():
        profile = saliency(model, batch_of(prompts()[:2]), [3, 4])
    assert len(seen) == 6
    with torch.no_grad():
        assert all(torch.equal(flows(*args), found) for args, found in seen)
    assert profile.s_vt.isfinite().all()


@batches
def test_analyses_and_blocks_run(model: PreTrainedModel, inputs: dict[str, Any]) -> None:
    with in_bf16():
        read = picture_attention(model, inputs, "instruction")
        masses = read.image_mass + read.system_mass + read.instruction_mass
        torch.testing.assert_close(masses[0], torch.ones(6))
        assert sinks(value_norms(model, inputs)).shares.shape == (len(inputs["input_ids"]), 6)
        for mode in ("renormalise", "zero", "fold", "skip"):
            with disrupt(model, source="image", target="instruction", layers=range(3), mode=mode):  # type: ignore[arg-type]
                assert model(**inputs).logits.isfinite().all()


def test_a_model_prepared_by_accelerate() -> None:
    accelerate = pytest.importorskip("accelerate")
    inputs = BATCHES["padded"]
    plain, prepared = tiny_llava(2), accelerate.Accelerator(mixed_precision="bf16", cpu=True).prepare(tiny_llava(2))
    with torch.no_grad():
        with in_bf16(), prune(plain, HiMAP(2, 0.5, 4, 0.75)) as expected:
            plain(**inputs)
        with prune(prepared, HiMAP(2, 0.5, 4, 0.75)) as trace:
            prepared(**inputs)
    for one, other in zip(trace.stages, expected.stages, strict=True):
        assert all(torch.equal(kept, same) for kept, same in zip(one.kept, other.kept, strict=True))
