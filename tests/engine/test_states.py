"""Layers without attention: what runs over them, what cannot be asked of them, and what is moved to where it can."""

import json
import pickle
from typing import Any

import pytest
import torch

from tests.reference import Keep
from tests.zoo import ZOO
from tests.zoo.entry import Entry
from tests.zoo.hybrids import LINEAR
from tests.zoo.oracles import (
    answer,
    batch_equals_single,
    cached_equals_uncached,
    close,
    drop_equals_shorter,
    logits_of,
    model_of,
    positions_are_kept,
)
from visionflow import VTW, FastV, HiMAP, Method, RandomPruning, VisiPruner, prune
from visionflow.core import Block, Plan, Watch
from visionflow.core.depth import Depth, attending_of
from visionflow.engines.hf.layer_kinds import depth_of
from visionflow.engines.hf.scope import Scope
from visionflow.errors import UnsupportedModelError, UnsupportedUsageError
from visionflow.evaluation.rows import table_rows
from visionflow.flow import logit_lens, picture_attention, saliency, value_output_lens
from visionflow.methods import DivPrune, PyramidDrop, parse

QWEN, LFM = ZOO["qwen3_5"], ZOO["lfm2_vl"]
SIX = Depth(6, (1, 4))
REAL = Depth(24, range(3, 24, 4))  # as in Qwen3.5's own configuration


def biased(entry: Entry) -> Any:
    """A model whose convolutions have a bias, as no checkpoint of LFM2 has, but its configuration allows."""
    config = entry.config()
    config.text_config.conv_bias = True
    return type(model_of(entry))(config).eval()


SHORTENED = [HiMAP(2, 0.5, 5, 0.75), VTW(1), DivPrune(0.6)]
hybrids = pytest.mark.parametrize("entry", [QWEN, LFM], ids=lambda entry: entry.model_type)


@hybrids
@pytest.mark.parametrize("method", SHORTENED, ids=str)
def test_dropping_equals_the_shorter_sequence(entry: Entry, method: Method) -> None:
    drop_equals_shorter(entry, method)


@hybrids
def test_uneven_samples_and_text_alone_get_what_they_get_by_themselves(entry: Entry) -> None:
    """What fills up the shorter samples enters no state."""
    batch_equals_single(entry, SHORTENED[0])


@hybrids
def test_samples_that_are_left_alike_need_no_padding_any_more(entry: Entry) -> None:
    """Pictures of two sizes are all gone: the mask that came with the padding is too long for what is left."""
    model, prompts = model_of(entry), [entry.prompt(3, "image", 6), entry.prompt(3, "wide", 6, seed=1)]
    with prune(model, VTW(1)):
        alone = [logits_of(model, entry.batch([prompt]))[0, -6:] for prompt in prompts]
        together = logits_of(model, entry.batch(prompts))[:, -6:]
    close(together, torch.stack(alone))


@hybrids
def test_the_first_layer_with_attention_tells_the_length(entry: Entry) -> None:
    """Also where it comes after the cut: positions of the answer follow from it."""
    positions_are_kept(entry, VTW(1))
    cached_equals_uncached(entry, VTW(1))


def test_a_depth_is_a_number_that_knows_where_tokens_attend() -> None:
    depth = depth_of(QWEN.config())
    assert depth == 6 == json.loads(json.dumps(depth))
    assert depth.attending == attending_of(depth) == (1, 4)
    assert attending_of(6) == (0, 1, 2, 3, 4, 5)
    assert pickle.loads(pickle.dumps(depth)).attending == (1, 4)


REFUSED = {
    "cut": (
        FastV(3, 0.5).plan(),
        r"layer 3 looks at the attention of layer 2, which has none: use 2 \(possible: 2, 5\)",
    ),
    "second cut": (HiMAP(2, 0.5, 4, 0.5).plan(), "layer 4 looks at the attention of layer 3, which has none: use 5"),
    "entry": (PyramidDrop((1, 3)).plan(), r"attention of layer 3, which has none: use 4 \(possible: 1, 4\)"),
    "adaptive": (VisiPruner().plan(), "of the model's 6 layers only 1, 4 have any: take a method that cuts at given"),
    "block": (Plan(blocks=(Block((1, 2), "image", "instruction"),)), "a block names layer 2, .*: name layers of 1, 4"),
    "watch": (
        Plan(watches=(Watch((0,), print),)),
        "a watch names layer 0, which has no attention: name layers of 1, 4",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_needs_attention_says_where_there_is_some(what: str) -> None:
    plan, told = REFUSED[what]
    with pytest.raises(UnsupportedUsageError, match=told):
        Scope(model_of(QWEN), plan)


@pytest.mark.parametrize("method", [VTW(0), VTW(3), RandomPruning(3, 0.5), DivPrune(0.5)], ids=str)
def test_what_looks_at_no_attention_cuts_anywhere(method: Any) -> None:
    method.plan().check_depth(SIX)


def test_defaults_go_to_the_nearest_layer_that_can_be_looked_at() -> None:
    """And what was said stays, to be refused."""
    assert str(parse("fastv").of(REAL)) == "FastV(k=4, r=0.5)"
    assert str(parse("himap").of(REAL)) == "HiMAP(k1=4, r1=0.5, k2=8, r2=0.75)"
    assert str(parse("himap").of(SIX)) == "HiMAP(k1=2, r1=0.5, k2=5, r2=0.75)"
    assert str(parse("pyramiddrop").of(SIX)) == "PyramidDrop(layers=(1, 4))"
    assert str(parse("vtw").of(SIX)) == "VTW(k=3)"
    assert parse("himap").of(6) == HiMAP(1, 0.5, 3, 0.75)
    with pytest.raises(UnsupportedUsageError, match="use 2"):
        parse("fastv:k=3").of(SIX)
    with pytest.raises(UnsupportedUsageError, match="only 1, 4 have any"):
        parse("visipruner").of(SIX)


def test_rows_of_a_table_fit_layers_without_attention() -> None:
    rows = table_rows(SIX)
    for row in rows:
        if row.method is not None:
            row.method.plan().check_depth(SIX)
    assert {row.name for row in table_rows(6)} - {row.name for row in rows} == {"visipruner"}


@hybrids
def test_a_later_turn_goes_on_from_the_states(entry: Entry) -> None:
    """Text that follows on the same cache, with the answer of one prompt in one piece."""
    model, method = model_of(entry), FastV(2, 0.5)
    first = entry.prompt(3, "image", 6)
    more = torch.tensor([[11, 12, 13]])
    whole = entry.batch([first.then(more[0].tolist())])
    with torch.no_grad(), prune(model, method) as trace:
        cache = model(**entry.batch([first])).past_key_values
        logits = model(input_ids=more, past_key_values=cache).logits[0]
    with prune(model, Keep.of(trace, method)):
        close(logits, logits_of(model, whole)[0, -3:])


def test_a_later_turn_that_leaves_different_lengths_is_refused() -> None:
    """What fills up the shorter samples would make the states decay."""
    model = model_of(LFM)
    text = LFM.batch([LFM.prompt(4), LFM.prompt(4, seed=1)])
    pictures = LFM.batch([LFM.prompt(3, "image", 6), LFM.prompt(4, "wide", 6)])
    assert pictures["attention_mask"].all()
    ones = torch.ones_like(text["input_ids"])
    pictures["attention_mask"] = torch.cat([ones, pictures["attention_mask"]], 1)
    with torch.no_grad(), prune(model, VTW(3)):
        cache = model(**text).past_key_values
        with pytest.raises(
            UnsupportedUsageError, match="as it runs on from an earlier turn: run these samples one by one"
        ):
            model(**pictures, past_key_values=cache)


def test_fillers_that_would_enter_a_state_are_refused() -> None:
    model = biased(LFM)
    same = LFM.batch([LFM.prompt(3, "image", 6), LFM.prompt(3, "image", 6, seed=1)])
    uneven = LFM.batch([LFM.prompt(3, "image", 6), LFM.prompt(4, "wide", 6)])
    with prune(model, VTW(3)):
        logits_of(model, same)
        with pytest.raises(
            UnsupportedUsageError, match="as conv_bias lets padding into it: run these samples one by one"
        ):
            logits_of(model, uneven)


def test_a_cache_is_as_large_as_what_it_holds() -> None:
    """Keys of attending layers shrink with the tokens, states do not."""
    from visionflow.answering.facts import kv_bytes

    model, inputs = model_of(QWEN), QWEN.batch([QWEN.prompt(3, "image", 6)])
    tokens, sizes = inputs["input_ids"].shape[1], {}
    text = QWEN.config().text_config
    delta = (2 * 2 * 8 + 4 * 8) * text.linear_conv_kernel_dim + 4 * 8 * 8  # convolution, and 4 heads of 8 x 8
    for k in (0, 3, 5):
        with torch.no_grad(), prune(model, VTW(k)) as trace:
            sizes[k] = kv_bytes(model(**inputs).past_key_values)
        assert sizes[k] == trace.cost("flops").kv_bytes_pruned
        left = tokens - int(trace.given_image_tokens)
        held = sum(tokens if layer < k else left for layer in (1, 4))
        assert sizes[k] == 4 * (2 * held * 2 * 8 + LINEAR.count("linear_attention") * delta)
    assert sizes[0] < sizes[3] < sizes[5]


def test_beams_are_reordered_with_their_states() -> None:
    model, inputs = model_of(QWEN), QWEN.batch([QWEN.prompt(3, "image", 6)])
    with prune(model, FastV(2, 0.5)):
        assert answer(model, inputs, num_beams=3).shape == (1, 4)
        assert torch.equal(answer(model, inputs, num_beams=1), answer(model, inputs))


def test_analyses_look_at_layers_that_attend() -> None:
    """All of these where none are named; the others are refused by name, and a lens where heads are gated."""
    inputs = QWEN.batch([QWEN.prompt(3, "image", 6)])
    assert picture_attention(model_of(QWEN), inputs).layers == (1, 4)
    with pytest.raises(
        UnsupportedUsageError, match="a watch names layer 2, which has no attention: name layers of 1, 4"
    ):
        picture_attention(model_of(QWEN), inputs, layers=[2])
    assert logit_lens(model_of(QWEN), inputs).ids.shape == (1, 7, 5)
    with pytest.raises(UnsupportedModelError, match="gates each number of a head after attention"):
        value_output_lens(model_of(QWEN), inputs)
    assert value_output_lens(model_of(LFM), LFM.batch([LFM.prompt(3, "image", 6)])).layers == (1, 4)
    with pytest.raises(UnsupportedUsageError, match="of this model's 6 layers only 1, 4 have any: look at these with"):
        saliency(model_of(QWEN), inputs, [3])
