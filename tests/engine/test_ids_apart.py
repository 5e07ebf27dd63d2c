"""BLIP-2: ids are those that the whole model was given, while it runs, and of nothing else."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.zoo import ZOO
from tests.zoo.oracles import answer, drop_equals_mask, logits_of, model_of
from visionflow import FastV, UnsupportedUsageError, prune
from visionflow.engines.hf.ids_apart import IdsApart

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
    """Each beam of a sample keeps what the sample keeps alone, as far on as it is padded."""
    model = model_of(BLIP)
    prompts = [BLIP.prompt(3, "image", 6), BLIP.prompt(7, "image", 8, seed=3)]
    padding = len(prompts[1].ids) - len(prompts[0].ids)
    with prune(model, FASTV) as trace:
        alone = []
        for prompt in prompts:
            tokens = answer(model, BLIP.batch([prompt]), num_beams=3)[0].tolist()
            alone.append((tokens, trace.stages[0].kept[0]))
        together = answer(model, BLIP.batch(prompts), num_beams=3)
    assert together.tolist() == [tokens for tokens, _ in alone]
    expected = [alone[0][1] + padding] * 3 + [alone[1][1]] * 3
    assert [each.tolist() for each in trace.stages[0].kept] == [each.tolist() for each in expected]


def test_ids_are_those_of_one_prompt_of_their_length() -> None:
    ids, apart = torch.tensor([[5, 6, 7], [8, 9, 10]]), IdsApart()
    with apart.noted(ids):
        assert apart.take(torch.zeros(2, 4, 8)) is None
        taken = apart.take(torch.zeros(4, 3, 8))
        assert taken is not None
        assert torch.equal(taken, ids[[0, 0, 1, 1]])
        assert apart.take(torch.zeros(2, 3, 8)) is None


def test_generate_takes_its_arguments_by_place() -> None:
    """Those of BLIP-2 have places of their own."""
    model = model_of(BLIP)
    places = [INPUTS[name] for name in ("pixel_values", "input_ids", "attention_mask")]
    with prune(model, FASTV):
        assert torch.equal(model.generate(*places, max_new_tokens=4)[:, -4:], answer(model, INPUTS))
