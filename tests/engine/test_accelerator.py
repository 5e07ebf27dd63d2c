"""On an accelerator: nothing is on the wrong device, nothing waits in the layer loop, no mask where dense has none."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.accelerator import Claimed, DeviceMix, Log, claimed, moved, released, watched
from tests.matrix import METHODS, in_turns, methods
from tests.tiny import batch_of, prompt, tiny_llava
from tests.zoo import ZOO
from tests.zoo.oracles import methods_of
from tests.zoo.quick import shared_out
from visionflow import VTW, FastV, HiMAP, Method, VisiPruner, prune
from visionflow.engines.hf.families import FAMILIES
from visionflow.flow import disrupt, logit_lens, picture_attention, value_norms, value_output_lens

READS = ("methods/visipruner_phases.py", "methods/autoprune.py", "hf/layout.py", "hf/skip.py", "core/cutting.py")
"""Where the host has to know: counts that depend on activations, keys that leave, whether blocks leave any to read."""


@cache
def dense() -> PreTrainedModel:
    return tiny_llava(kv_heads=2)


@cache
def on_accelerator() -> PreTrainedModel:
    model = tiny_llava(kv_heads=2)
    moved(model)
    return model


ELSEWHERE = {"chameleon", "muse_spark"}
"""They index by a list of numbers, which this accelerator does not follow."""


def one() -> dict[str, Any]:
    """A prompt of which no mask is needed."""
    return {name: part for name, part in batch_of([prompt(3, "image", 6)]).items() if name != "attention_mask"}


def equal() -> dict[str, Any]:
    """Two prompts of which no mask is needed."""
    both = batch_of([prompt(3, "image", 6), prompt(3, "image", 6, seed=1)])
    return {name: part for name, part in both.items() if name != "attention_mask"}


def padded() -> dict[str, Any]:
    return batch_of([prompt(3, "image", 6), prompt(20, "image", 12)])


@contextmanager
def layer_loop(model: PreTrainedModel, log: Log) -> Iterator[list[str]]:
    """The waits between the first decoder layer's beginning and the last one's end."""
    layers = model.model.language_model.layers
    inside: list[str] = []
    start: list[int] = []
    with ExitStack() as stack:
        first = layers[0].register_forward_pre_hook(lambda *_: start.append(len(log.waits)))
        last = layers[-1].register_forward_hook(lambda *_: inside.extend(log.waits[start[-1] :]))
        stack.callback(first.remove)
        stack.callback(last.remove)
        yield inside


@torch.no_grad()
def logits(model: PreTrainedModel, method: Method | None, inputs: dict[str, Any]) -> Tensor:
    with ExitStack() as stack:
        if method is not None:
            stack.enter_context(prune(model, method))
        out: Tensor = model(**inputs).logits
    return out


@in_turns("inputs", [(one,), (padded,)], [[(one,)], [(padded,)]], METHODS)
def test_the_layer_loop_waits_for_nothing_but_decisions(method: Method, inputs: Any) -> None:
    model = on_accelerator()
    with watched() as log, layer_loop(model, log) as inside:
        found = logits(model, method, claimed(inputs()))
    assert torch.equal(released(found), logits(dense(), method, inputs()))
    known = method.cuts() and all(cut.keep(8) is not None for cut in method.cuts())
    assert not inside if known else all(any(place in each for place in READS) for each in inside)
    assert sum("tokens.py" in wait for wait in log.waits) == 1  # the counts of the spans, once a prompt


@in_turns("inputs", [(one,), (equal,)], [[(one,)], [(equal,)]], METHODS)
def test_prompts_that_need_no_mask_get_none(method: Method, inputs: Any) -> None:
    """But where samples are left with different numbers of tokens: then the layers after that cut need one."""
    if isinstance(method, VisiPruner) and "shallow" in method.phases:
        pytest.skip("its shallow phase takes pairs of tokens apart by a mask")
    model = on_accelerator()
    with watched() as log, torch.no_grad(), prune(model, method) as trace:
        model(**claimed(inputs()))
    uneven = [layer for layer, counts in enumerate(trace.image_tokens.tolist()) if len({*counts}) > 1]
    assert sum(log.masked) == len(uneven)


@methods
def test_a_decoded_token_waits_no_more_than_dense(method: Method) -> None:
    """Where samples are padded, which takes the most."""
    counted: list[list[str]] = []
    model, given = on_accelerator(), claimed(padded())
    for each in (None, method):
        with ExitStack() as stack, torch.no_grad():
            if each is not None:
                stack.enter_context(prune(model, each))
            with watched():
                cached = model(**given).past_key_values
            step = {"input_ids": Claimed(torch.full((len(given["input_ids"]), 1), 5)), "past_key_values": cached}
            if "attention_mask" in given:
                step["attention_mask"] = Claimed(torch.nn.functional.pad(given["attention_mask"].held, (0, 1), value=1))
            with watched() as log:
                model(**step)
        counted.append(log.waits)
    assert len(counted[1]) <= len(counted[0])


@pytest.mark.parametrize("name", shared_out((FAMILIES.keys() & ZOO.keys()) - ELSEWHERE))
def test_families_have_everything_on_one_device(name: str) -> None:
    entry = ZOO[name]
    ordinary, model = entry.build(), entry.build()
    for each in (ordinary, model):
        each.set_experts_implementation("eager")  # the usual one counts tokens in a way that the CPU has no kernel for
    moved(model)
    prompts = [entry.prompt(3, "image", 6), entry.prompt(8, "image", 4, seed=1)]
    inputs = entry.batch(prompts if entry.batches else prompts[:1])
    method = methods_of(entry)[0]
    with watched():
        found = logits(model, method, claimed(inputs))
    # Not to the bit: what is one operation on the CPU may be several on an accelerator.
    torch.testing.assert_close(released(found), logits(ordinary, method, inputs), rtol=1e-3, atol=1e-4)


ANALYSES = (picture_attention, logit_lens, value_output_lens, value_norms)


@pytest.mark.parametrize("analysis", ANALYSES, ids=lambda each: each.__name__)
def test_analyses_have_everything_on_one_device(analysis: Any) -> None:
    with watched(), torch.no_grad():
        analysis(on_accelerator(), claimed(one()))


@pytest.mark.parametrize("mode", ["renormalise", "skip", "zero", "fold"])
def test_a_blocked_flow_waits_once_and_not_in_each_layer(mode: Any) -> None:
    model = on_accelerator()
    blocked = disrupt(model, source="image", target="instruction", layers=range(6), mode=mode)
    with blocked, watched() as log, layer_loop(model, log) as inside, torch.no_grad():
        model(**claimed(padded()))
    assert len(inside) <= 1


def test_what_is_on_two_devices_is_seen() -> None:
    with watched(), pytest.raises(DeviceMix, match=r"aten\.add\.Tensor"):
        Claimed(torch.ones(3)) + torch.ones(3)


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: torch.tensor([1, 2], device=x.device),
        lambda x: torch.ones(2).to(x.device),
        lambda x: bool((x > 0).all()),
    ],
    ids=["item", "tolist", "cpu", "bool index", "nonzero", "numbers", "to device", "bool"],
)
def test_each_kind_of_wait_is_seen(wait: Any) -> None:
    with watched() as log:
        x = Claimed(torch.ones(3))
        torch.full((2, 1), 3, device=x.device) + x[:2].cumsum(0).sort().values
        assert not log.waits
        wait(x)
    assert len(log.waits) == 1


FIRING = VisiPruner(2, layer_threshold=-1.0, fallback_layer=4, phases=("middle",))
"""It looks at layers 2, 3 and 4, and cuts after the last."""

MOST_ADDED = {HiMAP(2, 0.5, 4, 0.75): 80, FastV(2, 0.5): 40, VTW(3): 35}
"""Operations that a prefill may have more than the dense one: of each about 17 are the search for the spans."""


def operations(model: PreTrainedModel, method: Method | None, inputs: dict[str, Any], step: bool = False) -> int:
    """Operations on the accelerator that are no views: of a prefill, or of the decoded token after it."""
    with ExitStack() as stack, torch.no_grad():
        if method is not None:
            stack.enter_context(prune(model, method))
        with watched() as log:
            cached = model(**claimed(inputs)).past_key_values
        if not step:
            return log.operations
        token = {"input_ids": torch.full((len(inputs["input_ids"]), 1), 5)}
        if "attention_mask" in inputs:
            token["attention_mask"] = torch.nn.functional.pad(inputs["attention_mask"], (0, 1), value=1)
        with watched() as log:
            model(**claimed(token), past_key_values=cached)
    return log.operations


@pytest.mark.parametrize("method", MOST_ADDED, ids=str)
def test_a_prefill_has_few_operations_more_than_dense(method: Method) -> None:
    model = on_accelerator()
    assert operations(model, method, one()) - operations(model, None, one()) <= MOST_ADDED[method]


@pytest.mark.parametrize("method", [*MOST_ADDED, FIRING], ids=str)
def test_a_decoded_token_has_the_operations_of_dense_and_a_look_up_where_it_is_padded(method: Method) -> None:
    model = on_accelerator()
    added = [
        operations(model, method, each(), step=True) - operations(model, None, each(), step=True)
        for each in (one, padded)
    ]
    assert added[0] == 0
    assert added[1] <= 4


def test_a_layer_that_is_looked_at_has_few_operations_more() -> None:
    """Layers 2 and 3 decide nothing: what they have beyond those of a scope that starts later is the look."""
    model, later = on_accelerator(), replace(FIRING, shallow_layers=4)
    assert operations(model, FIRING, one()) - operations(model, later, one()) <= 2 * 15
