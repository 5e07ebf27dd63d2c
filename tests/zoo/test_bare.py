"""Bare ``...Model`` classes, the whole ones without their heads, are pruned as the whole ones are."""

from typing import Any

import pytest
import torch
from torch import nn

from tests.reference import fingerprint
from tests.zoo import ZOO
from tests.zoo.matrix import ROWS
from tests.zoo.oracles import image_columns, logits_of, methods_of, model_of, prompts_of
from tests.zoo.quick import QUICK
from visionflow import VTW, FastV, HiMAP, UnsupportedModelError, prune
from visionflow.engines.hf.families import FAMILIES
from visionflow.flow import disrupt, logit_lens, picture_attention, saliency
from visionflow.flow.disruption_sweep import first_tokens
from visionflow.methods import VisionZip

BARE = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name, entry in ROWS.items()
    if FAMILIES[entry.model_type].merger == "model"  # Llama 4 has no such class
]


@pytest.mark.parametrize("name", BARE)
@torch.no_grad()
def test_the_hidden_states_are_those_under_the_head(name: str) -> None:
    """With every method, on a padded batch; rows of dropped image tokens are zero; nothing is left behind."""
    entry = ROWS[name]
    whole, family, inputs = model_of(entry), FAMILIES[entry.model_type], entry.batch(prompts_of(entry))
    bare = whole.get_submodule("model")
    logits_of(whole, inputs)  # the first pass: transformers installs hooks of its own
    before, seen = fingerprint(whole), []

    def note(module: nn.Module, args: Any, output: Any) -> None:
        seen.append(output[0])

    tower_sees = not any("video" in name for name in inputs)
    for method in [each for each in methods_of(entry) if tower_sees or not isinstance(each, VisionZip)]:
        with prune(whole, method) as of_whole:
            handle = bare.register_forward_hook(note)
            logits_of(whole, inputs)
            handle.remove()
        with prune(bare, method) as trace:
            hidden = bare(**inputs).last_hidden_state
        assert torch.equal(hidden, seen[-1])
        for stage, other in zip(trace.stages, of_whole.stages, strict=True):
            assert all(torch.equal(kept, same) for kept, same in zip(stage.kept, other.kept, strict=True))
        for sample, kept in enumerate(trace.stages[-1].kept):
            dropped = sorted(set(image_columns(family, whole, inputs, sample)) - set(kept.tolist()))
            assert (hidden[sample, dropped] == 0).all()
        assert trace.image_tokens[-1].sum() < trace.given_image_tokens.sum()
    assert fingerprint(whole) == before


LLAVA = ZOO["llava"]


def llava() -> tuple[Any, dict[str, Any]]:
    return model_of(LLAVA).model, LLAVA.batch([LLAVA.prompt(3, "image", 6)])


def test_a_cache_goes_on_without_a_head() -> None:
    model, inputs = llava()
    more = torch.tensor([[5, 6]])
    with torch.no_grad(), prune(model, HiMAP(2, 0.5, 4, 0.75)):
        cache = model(**inputs).past_key_values
        hidden = model(input_ids=more, past_key_values=cache).last_hidden_state
    whole = model_of(LLAVA)
    with torch.no_grad(), prune(whole, HiMAP(2, 0.5, 4, 0.75)):
        cache = whole(**inputs).past_key_values
        assert torch.equal(whole.lm_head(hidden), whole(input_ids=more, past_key_values=cache).logits)


def test_what_it_costs_has_no_head_in_it() -> None:
    model, inputs = llava()
    with torch.no_grad(), prune(model, FastV(2, 0.5)) as trace:
        model(**inputs)
    with torch.no_grad(), prune(model_of(LLAVA), FastV(2, 0.5)) as of_whole:
        logits_of(model_of(LLAVA), inputs)
    assert trace.cost("flops").pruned == of_whole.cost("flops", logits_rows=0).pruned < of_whole.cost("flops").pruned


def test_analyses_that_read_no_logits() -> None:
    model, inputs = llava()
    read, expected = picture_attention(model, inputs), picture_attention(model_of(LLAVA), inputs)
    assert torch.equal(read.image[0], expected.image[0])
    with torch.no_grad():
        free = model(**inputs).last_hidden_state
        with disrupt(model, source="image", target="instruction", layers=range(3)):
            assert not torch.equal(model(**inputs).last_hidden_state, free)


def test_analyses_that_read_logits_say_that_there_are_none() -> None:
    model, inputs = llava()
    for analyse in (
        lambda: saliency(model, inputs, [3]),
        lambda: logit_lens(model, inputs),
        lambda: VTW.search(model, [inputs]),
        lambda: first_tokens(model, inputs),
    ):
        with pytest.raises(UnsupportedModelError, match="LlavaModel has no head, and logits are read here: give the"):
            analyse()
