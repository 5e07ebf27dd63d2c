"""The oracles of `tests/engine/test_oracles.py` on both systems: they are ordinary models to the pruning scope."""

from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.exact import EXACTLY
from tests.legacy.conftest import System
from tests.matrix import quick_or_slow
from tests.reference import Keep, masked_from
from visionflow import FastV, HiMAP, Method, prune
from visionflow.loading.prompts import make_prompts

METHODS: list[Method] = [HiMAP(2, 0.5, 4, 0.75), HiMAP(1, 0.5, 3, 0.5, deep_criterion="received"), FastV(2, 0.5)]
methods = pytest.mark.parametrize(
    ("system", "method"),
    [
        pytest.param(name, method, id=f"{name}-{method}", marks=() if quick else pytest.mark.slow)
        for name in ("mobile", "qwen")
        for number, method in enumerate(METHODS)
        for quick in [name == "mobile" or number == 0]  # pictures of 256 tokens take their time
    ],
    indirect=["system"],
)


def batch(system: System) -> Any:
    """No picture, one and two, padded on the left."""
    noise = torch.Generator().manual_seed(0)
    pictures = [
        [Image.fromarray(torch.randint(256, (30, 40, 3), generator=noise, dtype=torch.uint8).numpy()) for _ in range(n)]
        for n in (1, 2, 0)
    ]
    return make_prompts(system.model, system.processor, pictures, ["is the cat", "at the mat", "who is it that sat"])


def single(inputs: Any, sample: int, system: System) -> dict[str, Tensor]:
    """One sample of a batch, without its padding."""
    real = inputs["attention_mask"][sample].bool()
    counts = (inputs["input_ids"] == system.model.config.image_token_id).sum(1) // system.per_image
    first = int(counts[:sample].sum())
    pictures = inputs["pixel_values"][first : first + int(counts[sample])]
    alone = {"input_ids": inputs["input_ids"][[sample]][:, real], "attention_mask": real[real][None].long()}
    return alone | ({"pixel_values": pictures} if len(pictures) else {})


def logits_of(system: System, inputs: Any) -> Tensor:
    position_ids = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        return system.model(**inputs, position_ids=position_ids).logits


def answer(system: System, inputs: Any, **kwargs: Any) -> Tensor:
    tokens: Tensor = system.model.generate(**inputs, max_new_tokens=5, eos_token_id=-1, **kwargs)
    return tokens[:, inputs["input_ids"].shape[1] :]


def text_and_dropped(system: System, inputs: Any, kept: list[Tensor]) -> list[tuple[list[int], list[int]]]:
    """Per sample: the columns of the text after its first picture, and of the image tokens that are not kept."""
    groups = []
    for ids, mask, stayed in zip(inputs["input_ids"], inputs["attention_mask"], kept, strict=True):
        image = (ids == system.model.config.image_token_id).nonzero().flatten()
        after = image.min() if len(image) else len(ids)
        text = [i for i in mask.nonzero().flatten().tolist() if i > after and i not in image]
        groups.append((text, sorted(set(image.tolist()) - set(stayed.tolist()))))
    return groups


@pytest.fixture(autouse=True)
def attention(request: pytest.FixtureRequest, system: System) -> Any:
    """The attention implementation a test asks for, sdpa where it does not."""
    implementation = getattr(request, "param", "sdpa")
    system.model.set_attn_implementation({"text_config": implementation})
    yield implementation
    system.model.set_attn_implementation({"text_config": "sdpa"})


def test_dropping_nothing_changes_no_bit(system: System) -> None:
    inputs = batch(system)
    expected, tokens = logits_of(system, inputs), answer(system, inputs)
    with prune(system.model, HiMAP(2, 0.0, 4, 0.0)) as trace:
        assert torch.equal(logits_of(system, inputs), expected)
        assert torch.equal(answer(system, inputs), tokens)
    assert trace.image_tokens[0].tolist() == [system.per_image, 2 * system.per_image, 0]


@methods
@pytest.mark.parametrize("attention", quick_or_slow(["sdpa", "eager"], ["sdpa"]), indirect=True)
def test_dropping_equals_masking(system: System, method: Method, attention: str) -> None:
    inputs = batch(system)
    with prune(system.model, method) as trace:
        pruned = logits_of(system, inputs)
    stages = {stage.layer: text_and_dropped(system, inputs, stage.kept) for stage in trace.stages}
    dropped = {layer: [gone for _, gone in groups] for layer, groups in stages.items()}
    with masked_from(system.model, dropped, inputs):
        masked = logits_of(system, inputs)
    dense = logits_of(system, inputs)
    for sample, (text, gone) in enumerate(stages[trace.stages[-1].layer]):
        torch.testing.assert_close(pruned[sample, text], masked[sample, text], **EXACTLY)
        if gone:
            assert not torch.allclose(pruned[sample, text], dense[sample, text], atol=1e-2)


@methods
def test_a_sample_gets_in_a_batch_what_it_gets_alone(system: System, method: Method) -> None:
    inputs = batch(system)
    with prune(system.model, method) as trace:
        together, kept = logits_of(system, inputs), [stage.kept for stage in trace.stages]
    for sample in range(len(together)):
        alone = single(inputs, sample, system)
        padding = together.shape[1] - alone["input_ids"].shape[1]
        with prune(system.model, method) as trace:
            torch.testing.assert_close(together[sample, padding:], logits_of(system, alone)[0], **EXACTLY)
        assert [(stage.kept[0] + padding).tolist() for stage in trace.stages] == [k[sample].tolist() for k in kept]


@methods
def test_cached_tokens_equal_uncached_tokens(system: System, method: Method) -> None:
    inputs = single(batch(system), 1, system)
    with prune(system.model, method) as trace:
        cached = answer(system, inputs)
    with prune(system.model, Keep.of(trace, method)):
        assert torch.equal(answer(system, inputs, use_cache=False), cached)


@methods
def test_the_model_is_what_it_was(system: System, method: Method) -> None:
    inputs = batch(system)
    expected = logits_of(system, inputs)
    with prune(system.model, method):
        assert not torch.equal(logits_of(system, inputs), expected)
    assert torch.equal(logits_of(system, inputs), expected)


def test_costs(system: System) -> None:
    with prune(system.model, FastV(2, 0.5)) as trace:
        logits_of(system, single(batch(system), 0, system))
    assert 0 < trace.cost("flops").ratio < 1
    assert trace.image_tokens[:, 0].tolist() == [system.per_image] * 2 + [system.per_image // 2] * 4
