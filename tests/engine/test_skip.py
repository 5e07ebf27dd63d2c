"""Pairs left uncomputed change nothing but what they cost; freed attention goes where it is to go."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.engine.test_blocks import states_of
from tests.exact import EXACTLY
from tests.matrix import models, prompts
from tests.reference import image_columns, instruction_columns
from tests.tiny import IMAGE_TOKEN, Prompt, batch_of, prompt
from visionflow import UnsupportedUsageError
from visionflow.core import Block, LayerAttention, Plan, Trace, Watch
from visionflow.core.flows import BlockMode
from visionflow.engines.hf.scope import Scope

TARGETS = [("instruction",), ("image",), ("instruction", "image"), ("system", "instruction", "image")]
targets = pytest.mark.parametrize("blocked", TARGETS, ids="+".join)


def blocks(layers: Any, blocked: tuple[str, ...], mode: BlockMode) -> list[Block]:
    return [Block(layers, "image", target, mode) for target in blocked]  # type: ignore[arg-type]


@models
@targets
@pytest.mark.parametrize("side", ["left", "right"])
def test_skipping_equals_masking(model: PreTrainedModel, blocked: tuple[str, ...], side: str) -> None:
    inputs = batch_of(prompts(), side)
    skipped = states_of(model, inputs, *blocks([0, 1, 3], blocked, "skip"))
    masked = states_of(model, inputs, *blocks([0, 1, 3], blocked, "renormalise"))
    real = inputs["attention_mask"].bool()
    for one, other in zip(skipped, masked, strict=True):
        torch.testing.assert_close(one[real], other[real], **EXACTLY)


@targets
def test_skipping_without_a_mask(model: PreTrainedModel, blocked: tuple[str, ...]) -> None:
    """A single prompt, for which sdpa gets none."""
    inputs = prompt(3, "image", 4, "image", 6).inputs
    skipped = states_of(model, inputs, *blocks(range(3), blocked, "skip"))
    masked = states_of(model, inputs, *blocks(range(3), blocked, "renormalise"))
    torch.testing.assert_close(skipped[-1], masked[-1], **EXACTLY)


@pytest.mark.parametrize("model", [("llava-grouped", "eager")], indirect=True)
@targets
def test_the_attention_function_gets_no_more_than_it_needs(model: PreTrainedModel, blocked: tuple[str, ...]) -> None:
    """25 image tokens, 4 before, 6 after."""
    calls: list[tuple[int, int]] = []
    inputs = prompt(3, "image", 6).inputs
    softmax = torch.nn.functional.softmax

    def spy(scores: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        calls.append((scores.shape[2], scores.shape[3]))
        return softmax(scores, *args, **kwargs)

    with Scope(model, Plan(blocks=tuple(blocks([2], blocked, "skip")))) as trace, pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "softmax", spy)
        with torch.no_grad():
            model(**inputs)
    expected = {
        "instruction": [(6, 10), (29, 35)],
        "image": [(25, 10), (10, 35)],
        "instruction+image": [(31, 10), (4, 35)],
    }
    expected["system+instruction+image"] = [(35, 10)]
    of_decoder = [call for call in calls if call[1] in (10, 35)]
    assert of_decoder == [(35, 35)] * 2 + expected["+".join(blocked)] + [(35, 35)] * 3
    assert (
        trace.work.pairs[2]
        == trace.work_of(0).pairs[2]
        == sum(rows * keys for rows, keys in expected["+".join(blocked)])
    )


def test_a_watch_sees_what_was_read(model: PreTrainedModel) -> None:
    inputs = batch_of(prompts())
    seen: dict[str, LayerAttention] = {}
    for mode in ("skip", "renormalise"):
        watch = Watch([1], lambda attention, mode=mode: seen.update({mode: attention}))
        with Scope(model, Plan(blocks=tuple(blocks([1], TARGETS[2], mode)), watches=(watch,))), torch.no_grad():
            model(**inputs)
    [(_, _, skipped)] = seen["skip"].rows_of("last").heads()
    [(_, _, masked)] = seen["renormalise"].rows_of("last").heads()
    torch.testing.assert_close(skipped, masked)


@pytest.mark.parametrize("model", [("llava-grouped", "eager"), ("llava", "sdpa")], indirect=True)
@pytest.mark.parametrize("side", ["left", "right"])
def test_folded_attention_goes_to_the_first_image_token(model: PreTrainedModel, side: str) -> None:
    inputs = batch_of(prompts(), side)
    seen: list[LayerAttention] = []
    watch = Watch([2], seen.append)
    for plan in (Plan(watches=(watch,)), Plan(blocks=(Block([2], "image", "instruction", "fold"),), watches=(watch,))):
        with Scope(model, plan), torch.no_grad():
            model(**inputs)
    free, folded = seen
    everyone = torch.ones_like(free.tokens.valid)
    weights = torch.cat([part for _, _, part in free.rows(everyone).heads()], 2)
    value = free.value.repeat_interleave(free.query.shape[1] // free.value.shape[1], 1)
    for sample in range(4):
        image, text = image_columns(inputs, sample), instruction_columns(inputs, sample)
        expected = free.output[sample].clone()
        for row in text:
            mass = weights[sample, :, row, image].sum(1, keepdim=True)
            read = (weights[sample, :, row, image, None] * value[sample][:, image]).sum(1)
            expected[row] += mass * value[sample][:, image[0]] - read
        torch.testing.assert_close(folded.output[sample], expected, **EXACTLY)
        assert not text or (folded.output[sample] - free.output[sample]).abs().max() > 1e-2


def test_only_the_reading_of_the_image_can_be_skipped() -> None:
    with pytest.raises(UnsupportedUsageError, match="mode='renormalise'"):
        Block([1], "system", "image", "skip")
    with pytest.raises(UnsupportedUsageError, match="mode='renormalise'"):
        Block([1], "image", lambda tokens: tokens.valid, "skip")


@pytest.mark.parametrize("model", [("llava", "sdpa"), ("llava", "eager")], indirect=True)
def test_image_tokens_with_nothing_left_to_read_are_refused(model: PreTrainedModel) -> None:
    no_system = Prompt([IMAGE_TOKEN] * 25 + [5, 6], prompt("image").pictures)
    with (
        Scope(model, Plan(blocks=tuple(blocks([1], ("image",), "skip")))),
        pytest.raises(UnsupportedUsageError, match="nothing to read"),
    ):
        model(**no_system.inputs)


def test_a_trace_without_a_prompt_has_no_work() -> None:
    trace = Trace(6)
    assert trace.work.lengths == trace.work.pairs == []
