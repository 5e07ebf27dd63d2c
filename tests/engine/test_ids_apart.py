"""BLIP-2: ids are those that the whole model was given, while it runs, and of nothing else."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.zoo import ZOO
from tests.zoo.oracles import answer, drop_equals_mask, logits_of, model_of
from visionflow import FastV, UnsupportedUsageError, prune

BLIP = ZOO["blip-2"]
FASTV = FastV(2, 0.5)
INPUTS = BLIP.batch([BLIP.prompt(3, "image", 6)])
CALLS: dict[str, Callable[..., Any]] = {"forward": logits_of, "generate": answer}


def test_dropping_equals_masking() -> None:
    drop_equals_mask(BLIP, FASTV)


@pytest.mark.parametrize("how", CALLS)
def test_embeddings_after_a_call_that_failed_are_not_taken_for_its_prompt(how: str) -> None:
    """Nor after one that did not."""
    model = model_of(BLIP)
    embeddings = torch.randn(*INPUTS["input_ids"].shape, 32)
    broken = INPUTS | {"pixel_values": torch.zeros(1, 1, 16, 16)}  # one channel: the vision tower fails
    with torch.no_grad(), prune(model, FASTV):
        with pytest.raises(RuntimeError):
            CALLS[how](model, broken)
        with pytest.raises(UnsupportedUsageError, match="pass input_ids"):
            model.language_model(inputs_embeds=embeddings)
        CALLS[how](model, INPUTS)
        with pytest.raises(UnsupportedUsageError, match="pass input_ids"):
            model.language_model(inputs_embeds=embeddings)


def test_beams_of_a_batch_are_those_of_its_samples() -> None:
    model = model_of(BLIP)
    prompts = [BLIP.prompt(3, "image", 6), BLIP.prompt(7, "image", 8, seed=3)]
    with prune(model, FASTV):
        alone = [answer(model, BLIP.batch([prompt]), num_beams=3)[0] for prompt in prompts]
        together = answer(model, BLIP.batch(prompts), num_beams=3)
    assert [row.tolist() for row in together] == [row.tolist() for row in alone]


def test_generate_takes_its_arguments_by_place() -> None:
    """Those of BLIP-2 have places of their own."""
    model = model_of(BLIP)
    places = [INPUTS[name] for name in ("pixel_values", "input_ids", "attention_mask")]
    with prune(model, FASTV):
        assert torch.equal(model.generate(*places, max_new_tokens=4)[:, -4:], answer(model, INPUTS))
