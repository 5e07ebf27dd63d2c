"""The eight oracles of the design, over every method, family and attention implementation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from tests.exact import EXACTLY, ROUNDED
from tests.matrix import (
    DROPPING,
    METHODS,
    NOTHING_DROPPED,
    PLACED,
    PROBING,
    UNBLOCKED,
    in_turns,
    methods,
    models_and_sides_in_turns,
    models_in_turns,
    prompts,
)
from tests.reference import Keep, fingerprint, image_columns, instruction_columns, masked_from, shorter
from tests.tiny import IMAGE_TOKEN, batch_of, positions, prompt
from visionflow import HiMAP, Method, prune
from visionflow.core import AttentionRows, Both, Cut, Plan, Recycled, Top
from visionflow.core.attention import tokens_at
from visionflow.engines.hf.scope import Scope

EAGER = [("llava", "eager"), ("llava-grouped", "eager")]


def logits_of(model: PreTrainedModel, inputs: dict[str, Any], **kwargs: Any) -> Tensor:
    with torch.no_grad():
        return model(**inputs, position_ids=positions(inputs), **kwargs).logits


def answer(model: PreTrainedModel, inputs: dict[str, Any], **kwargs: Any) -> Tensor:
    tokens: Tensor = model.generate(**inputs, max_new_tokens=6, do_sample=False, **kwargs)
    return tokens[:, inputs["input_ids"].shape[1] :]


def dropped_by(trace: Any, inputs: dict[str, Any]) -> dict[int, list[list[int]]]:
    return {
        stage.layer: [
            sorted(set(image_columns(inputs, sample)) - set(kept.tolist())) for sample, kept in enumerate(stage.kept)
        ]
        for stage in trace.stages
    }


# 1. Identity -------------------------------------------------------------------------------------------------------


@models_in_turns(NOTHING_DROPPED)
def test_dropping_nothing_changes_no_bit(model: PreTrainedModel, method: Method) -> None:
    inputs = batch_of(prompts())
    expected, tokens = logits_of(model, inputs), answer(model, inputs)
    with prune(model, method):
        assert torch.equal(logits_of(model, inputs), expected)
        assert torch.equal(answer(model, inputs), tokens)


@models_in_turns(METHODS)
def test_text_only_prompts_pass_through_untouched(model: PreTrainedModel, method: Method) -> None:
    inputs = batch_of([prompt(9, seed=1), prompt(4, seed=2)])
    expected, tokens = logits_of(model, inputs), answer(model, inputs)
    with prune(model, method) as trace:
        assert torch.equal(logits_of(model, inputs), expected)
        assert torch.equal(answer(model, inputs), tokens)
    assert trace.image_tokens.sum() == 0


# 2. Drop equals mask -----------------------------------------------------------------------------------------------
# Where tokens are merged a mask has no meaning, as what stays has changed; there the oracle is that dropping equals
# running the layers by hand on the shorter sequence, with merged rows in it ("drop equals shorter").


@models_and_sides_in_turns(DROPPING)
def test_dropping_equals_masking(model: PreTrainedModel, method: Method, side: str) -> None:
    inputs = batch_of(prompts(), side)
    with prune(model, method) as trace:
        pruned = logits_of(model, inputs)
    with masked_from(model, dropped_by(trace, inputs), inputs, method.blocks()):
        masked = logits_of(model, inputs)
    for sample in range(len(pruned)):
        text = instruction_columns(inputs, sample)
        torch.testing.assert_close(pruned[sample, text], masked[sample, text], **EXACTLY)
        gone = dropped_by(trace, inputs)[trace.stages[-1].layer][sample]
        assert (pruned[sample, gone] == 0).all()


@models_in_turns(UNBLOCKED)
def test_dropping_equals_running_the_shorter_sequence(model: PreTrainedModel, method: Method) -> None:
    inputs = prompt(2, "image", 4, "image", 9, seed=3).inputs
    with prune(model, method) as trace:
        pruned = logits_of(model, inputs)
    by_hand, columns = shorter(model, inputs, trace, method.plan().positions == "compact")
    torch.testing.assert_close(pruned[0, columns], by_hand, **EXACTLY)
    left = image_columns(inputs, 0)
    for stage, cut in zip(trace.stages, method.cuts(), strict=False):  # adaptive ones have none
        assert (stage.merged is not None) == cut.select.merges
        if stage.merged is not None:
            moved, targets = stage.merged[0].tolist()
            gone = {*left} - {*stage.kept[0].tolist()}
            assert {*moved} <= gone if isinstance(cut.select, Recycled) else sorted(moved) == sorted(gone)
            assert {*targets} <= {*stage.kept[0].tolist()}
        left = stage.kept[0].tolist()


# 3. Cached equals uncached -----------------------------------------------------------------------------------------


@models_in_turns(METHODS)
def test_cached_tokens_equal_uncached_tokens(model: PreTrainedModel, method: Method) -> None:
    inputs = batch_of([prompt(3, "image", 6), prompt(20, "image", 12, seed=5)])
    with prune(model, method) as trace:
        cached = answer(model, inputs)
    with prune(model, Keep.of(trace, method)) as again:
        uncached = answer(model, inputs, use_cache=False)
    assert torch.equal(cached, uncached)
    assert [[k.tolist() for k in s.kept] for s in again.stages] == [[k.tolist() for k in s.kept] for s in trace.stages]


SEARCHES: list[dict[str, Any]] = [
    {"num_beams": 3},
    {"num_beams": 3, "num_return_sequences": 3},
    {"do_sample": True, "suppress_tokens": [IMAGE_TOKEN]},
]


@in_turns("search", [(search,) for search in SEARCHES], [[(search,)] for search in SEARCHES], METHODS)
def test_cached_equals_uncached_in_every_search(model: PreTrainedModel, method: Method, search: dict[str, Any]) -> None:
    inputs = batch_of([prompt(3, "image", 6), prompt(20, "image", 12, seed=5)])
    with prune(model, method) as trace:
        answer(model, inputs)
    with prune(model, Keep.of(trace, method)):
        torch.manual_seed(0)
        cached = model.generate(**inputs, max_new_tokens=5, **search)
        torch.manual_seed(0)
        uncached = model.generate(**inputs, max_new_tokens=5, use_cache=False, **search)
    assert torch.equal(cached, uncached)


# 4. Batch equals single --------------------------------------------------------------------------------------------


@models_and_sides_in_turns(METHODS)
def test_a_sample_gets_in_a_batch_what_it_gets_alone(model: PreTrainedModel, method: Method, side: str) -> None:
    samples = prompts()
    inputs = batch_of(samples, side)
    with prune(model, method) as trace:
        together = logits_of(model, inputs)
    for number, sample in enumerate(samples):
        with prune(model, method) as alone_trace:
            alone = logits_of(model, sample.inputs)[0]
        start = together.shape[1] - len(alone) if side == "left" else 0
        torch.testing.assert_close(together[number, start : start + len(alone)], alone, **EXACTLY)
        assert torch.equal(trace.image_tokens[:, number], alone_trace.image_tokens[:, 0])
        together_kept = {stage.layer: (stage.kept[number] - start).tolist() for stage in trace.stages}
        assert together_kept.items() >= {stage.layer: stage.kept[0].tolist() for stage in alone_trace.stages}.items()
        assert trace.work_of(number) == alone_trace.work_of(0)


@models_in_turns(METHODS)
def test_generated_tokens_in_a_batch_are_those_alone(model: PreTrainedModel, method: Method) -> None:
    samples = prompts()
    with prune(model, method):
        together = answer(model, batch_of(samples))
        for number, sample in enumerate(samples):
            assert torch.equal(together[number], answer(model, sample.inputs)[0])


@methods
def test_an_unpadded_batch_with_different_image_counts(model: PreTrainedModel, method: Method) -> None:
    """Same length, one picture against two: transformers builds no mask, yet the caches differ in length."""
    one, two = prompt(3, "image", 40), prompt(3, "image", 7, "image", 8, seed=2)
    assert len(one.ids) == len(two.ids)
    with prune(model, method):
        together = answer(model, batch_of([one, two]))
        assert torch.equal(together[0], answer(model, one.inputs)[0])
        assert torch.equal(together[1], answer(model, two.inputs)[0])


# 5. Score equals definition ----------------------------------------------------------------------------------------


def over_heads(weights: Tensor, heads: Any) -> Tensor:
    """``[batch, rows, keys]`` of ``[batch, heads, rows, keys]``: the mean, or a sum with a weight for each."""
    return torch.einsum("bhrk,h->brk", weights, torch.tensor(heads).to(weights)) if heads != "mean" else weights.mean(1)


@dataclass(frozen=True, kw_only=True)
class EagerRows(AttentionRows):
    """The same rows, read off eager attention's own weights ``[batch, heads, tokens, keys]``."""

    weights: Tensor

    def chunks(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for index, real, weights in self.heads():
            share = real.float() if self.share is None else self.share.gather(1, self.places) * real
            yield index, real, over_heads(weights, self.joined).float() * share.unsqueeze(2)

    def heads(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        yield self.index, self.real, tokens_at(self.weights, self.places)


def above_average(method: Method, stage: int, attention: Tensor, image: list[int], text: list[int]) -> Tensor:
    read = attention[text][:, image].sum(0)
    return read - read.mean()


def fastv(method: Method, stage: int, attention: Tensor, image: list[int], text: list[int]) -> Tensor:
    return attention[-1, image]


def himap(method: Any, stage: int, attention: Tensor, image: list[int], text: list[int]) -> Tensor:
    if stage == 0:
        return attention[text][:, image].sum(0)
    block = attention[image][:, image].clone()
    if method.exclude_self:
        block.fill_diagonal_(0)
    return block.sum(1) if method.deep_criterion == "paid" else block.sum(0)


def attentions_until(model: PreTrainedModel, trace: Any, method: Method, cut: Cut, inputs: dict[str, Any]) -> Tensor:
    """Attention of the layer that `cut` comes before, where all cuts but this and later ones were made."""
    before = {stage.layer: stage.kept for stage in trace.stages if stage.layer < cut.layer}
    with prune(model, Keep(before, method.plan())), torch.no_grad():
        weights: Tensor = model(**inputs, output_attentions=True).attentions[cut.layer]
    return weights


def of_text(method: Method, stage: int, attention: Tensor, image: list[int], text: list[int]) -> Tensor:
    return attention[text][:, image].sum(0)


DEFINITIONS: dict[str, Callable[[Method, int, Tensor, list[int], list[int]], Tensor]] = {
    "above-average": above_average,
    "deft": of_text,
    "fastv": fastv,
    "himap": himap,
    "pyramiddrop": fastv,
    "text-rows": of_text,
}
"""The papers' formulas on one sample's head-mean attention, whose rows are the image's and the text's after it."""


@in_turns("model", [(cell,) for cell in EAGER], [[(cell,)] for cell in EAGER], PROBING)
def test_scores_equal_the_definition_on_eager_attention(model: PreTrainedModel, method: Method) -> None:
    """What a method makes of the rows is what it makes of eager attention's own, and what the paper's formula says."""
    inputs = prompt(5, "image", 3, "image", 8, seed=7).inputs
    seen: dict[int, tuple[Callable[[AttentionRows], Tensor], AttentionRows, Tensor]] = {}
    cuts = []
    for cut in method.cuts():
        if cut.attention is not None:

            def spy(rows: AttentionRows, layer: int = cut.layer, reduce: Any = cut.attention.reduce) -> Tensor:
                seen[layer] = (reduce, rows, reduce(rows))
                return seen[layer][2]

            watched = replace(cut.attention, reduce=spy)
            both = isinstance(cut.evidence, Both)
            cut = replace(cut, evidence=replace(cut.evidence, scores=watched) if both else watched)
        cuts.append(cut)
    with Scope(model, Plan(tuple(cuts))) as trace, torch.no_grad():
        attentions = model(**inputs, output_attentions=True).attentions
    whole = [attentions_until(model, trace, method, cut, inputs) for cut in cuts]
    present = list(range(inputs["input_ids"].shape[1]))
    images, texts = set(image_columns(inputs, 0)), set(instruction_columns(inputs, 0))
    for number, (cut, stage) in enumerate(zip(cuts, trace.stages, strict=True)):
        image = [row for row, column in enumerate(present) if column in images]
        if stage.layer in seen:
            reduce, rows, found = seen[stage.layer]
            entry = cut.attention is not None and cut.attention.when == "entry"
            weights = whole[number] if entry else attentions[stage.layer - 1]
            score = reduce(EagerRows(**vars(rows), weights=weights))[0, image]
            torch.testing.assert_close(found[0, image], score, **ROUNDED)
            if method.name in DEFINITIONS:
                text = [row for row, column in enumerate(present) if column in texts]
                formula = DEFINITIONS[method.name](method, number, over_heads(weights, rows.joined)[0], image, text)
                torch.testing.assert_close(found[0, image], formula.float(), **ROUNDED)
            kept = cut.keep(len(image))
            count = int((score > 0).sum()) if kept is None else kept
            if cut.select == Top():
                best = [present[image[place]] for place in score.topk(count).indices.sort().values.tolist()]
                assert stage.kept[0].tolist() == best
        present = [column for column in present if column not in images or column in stage.kept[0].tolist()]


# 6. Restored -------------------------------------------------------------------------------------------------------


@models_in_turns(METHODS)
def test_the_model_is_restored(model: PreTrainedModel, method: Method) -> None:
    inputs = batch_of(prompts())
    expected = logits_of(model, inputs)  # the first pass: transformers installs hooks of its own
    before = fingerprint(model)
    with prune(model, method):
        logits_of(model, inputs)
        assert fingerprint(model) != before
    assert fingerprint(model) == before
    assert torch.equal(logits_of(model, inputs), expected)

    handle = prune(model, method)
    handle.remove()
    handle.remove()
    assert fingerprint(model) == before


@methods
def test_the_model_is_restored_after_an_exception_in_the_forward_pass(model: PreTrainedModel, method: Method) -> None:
    inputs = batch_of(prompts())
    expected = logits_of(model, inputs)  # the first pass: transformers installs hooks of its own
    before = fingerprint(model)

    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory, say")

    handle = model.model.language_model.layers[4].mlp.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"), prune(model, method):
        logits_of(model, inputs)
    handle.remove()
    assert fingerprint(model) == before
    assert torch.equal(logits_of(model, inputs), expected)


def test_a_scope_goes_on_after_a_failed_pass(model: PreTrainedModel) -> None:
    inputs = batch_of(prompts())
    method = HiMAP(2, 0.5, 4, 0.75)
    with prune(model, method):
        expected = logits_of(model, inputs)
        broken = dict(inputs, pixel_values=inputs["pixel_values"][:1])
        with pytest.raises(Exception, match="do not match"):
            logits_of(model, broken)
        assert torch.equal(logits_of(model, inputs), expected)


# 7. Counted equals modelled ----------------------------------------------------------------------------------------


ROWS_OF_LOGITS = list(product(EAGER, (1, None)))


def flops_without_tower(model: PreTrainedModel, inputs: dict[str, Any], **kwargs: Any) -> int:
    """What torch counts, less the encoding of the pictures and what a method reads in it."""
    with FlopCounterMode(display=False) as vision, torch.no_grad():
        model.get_image_features(inputs["pixel_values"])
    with FlopCounterMode(display=False) as counter:
        logits_of(model, inputs, **kwargs)
    return counter.get_total_flops() - vision.get_total_flops()


@in_turns("model,logits_rows", ROWS_OF_LOGITS, [[each] for each in ROWS_OF_LOGITS], METHODS)
def test_counted_flops_equal_modelled_flops(model: PreTrainedModel, method: Method, logits_rows: int | None) -> None:
    inputs = batch_of(prompts())
    with prune(model, method) as trace:
        pruned = flops_without_tower(model, inputs, logits_to_keep=logits_rows or 0)
    cost = trace.cost("flops", logits_rows)
    assert pruned == cost.pruned
    assert flops_without_tower(model, inputs, logits_to_keep=logits_rows or 0) == cost.dense
    assert cost.pruned < cost.dense


# 8. Positions ------------------------------------------------------------------------------------------------------


@models_in_turns(PLACED)
def test_kept_and_generated_tokens_have_their_unpruned_positions(model: PreTrainedModel, method: Method) -> None:
    inputs = batch_of([prompt(3, "image", 6), prompt(20, "image", 12, seed=5)])
    last_layer = model.model.language_model.layers[-1].self_attn
    seen: list[tuple[Tensor, Tensor]] = []

    def watch(module: Any, args: Any, kwargs: Any) -> None:
        seen.append((kwargs["position_embeddings"][0], kwargs["position_ids"]))

    handle = last_layer.register_forward_pre_hook(watch, with_kwargs=True)
    try:
        answer(model, inputs)
        dense, seen = seen, []
        with prune(model, method) as trace:
            answer(model, inputs)
    finally:
        handle.remove()
    assert len(seen) == len(dense) == 6
    present = trace.stages[-1].tokens
    for sample in range(2):
        columns = present.columns[sample][present.valid[sample]]
        for of_kept, of_all in zip(seen[0], dense[0], strict=True):
            of_all = of_all.expand(2, *of_all.shape[1:])
            assert torch.equal(of_kept[sample][present.valid[sample]], of_all[sample][columns])
    for step, dense_step in zip(seen[1:], dense[1:], strict=True):
        assert torch.equal(step[0], dense_step[0])
        assert torch.equal(step[1], dense_step[1])
