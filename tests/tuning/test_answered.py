"""How far a pruned model is from the dense one's answers: read along or on the cache, it is the same number."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from tests.exact import EXACTLY
from tests.tiny import batch_of, prompt
from tests.zoo import ZOO
from visionflow import VTW, HiMAP, UnsupportedUsageError, VisiPruner, prune
from visionflow.core import Plan
from visionflow.methods import Schedule
from visionflow.tuning.answered import Answered, kl, log_probabilities

SCHEDULE = Schedule(("1/text/0.5", "3/last/0.2"))


def batch() -> dict[str, Any]:
    return batch_of([prompt(4, "image", 7), prompt(3, "image", 12, seed=5), prompt(6, "image", 2, seed=6)])


def test_it_is_the_kl_along_the_answer(model: PreTrainedModel) -> None:
    """By hand: dense and pruned `generate` of one prompt, the pruned one from the prompt and dense's words so far."""
    inputs = prompt(4, "image", 7).inputs
    answered = Answered.of(model, inputs, 3)
    assert answered.along
    each = []
    for place in range(3):
        ids = torch.cat([inputs["input_ids"], answered.answer[:, :place]], 1)
        so_far = inputs | {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        with torch.no_grad():
            dense = model(**so_far).logits[:, -1]
        each.append(dense)
    torch.testing.assert_close(answered.logits, torch.stack(each, 1), **EXACTLY)
    pruned = answered.read(model, SCHEDULE.plan())
    by_hand = kl(log_probabilities(answered.logits), log_probabilities(pruned)).sum(1)
    torch.testing.assert_close(answered.divergence(model, SCHEDULE.plan()), by_hand)
    assert float(by_hand) > 1e-6


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "gemma3"])
def test_read_along_it_is_what_it_is_on_the_cache(name: str) -> None:
    entry = ZOO[name]
    model = entry.build(dtype=torch.float64)
    inputs = entry.batch([entry.prompt(3, "image", 6, seed=1), entry.prompt(5, "image", 4, seed=2)])
    answered = Answered.of(model, inputs, 4)
    assert answered.along
    later = replace(answered, along=False).read(model, SCHEDULE.plan())
    # rotary angles and norms of these are fp32 even so, and positions count padding in one way alone
    torch.testing.assert_close(answered.read(model, SCHEDULE.plan()).float(), later, rtol=1e-3, atol=1e-4)


def test_where_the_prompt_reads_what_comes_after_it_the_answer_is_read_later() -> None:
    """PaliGemma reads a prompt both ways: an answer beside it would be read with it."""
    entry = ZOO["paligemma"]
    model = entry.build()
    inputs = entry.batch([entry.prompt(3, "image", 6, seed=1)])
    answered = Answered.of(model, inputs, 4)
    assert not answered.along
    assert float(answered.divergence(model, SCHEDULE.plan())) > 1e-6
    assert float(answered.divergence(model, Plan()).abs().max()) == 0


def test_kl_is_zero_where_all_is_kept(model: PreTrainedModel) -> None:
    answered = Answered.of(model, batch(), 4)
    for plan in (Plan(), Schedule(("2/text/1",)).plan()):
        assert answered.divergence(model, plan).tolist() == [0, 0, 0]


def test_a_prompt_has_the_kl_that_it_has_alone(model: PreTrainedModel) -> None:
    together = Answered.of(model, batch(), 4).divergence(model, SCHEDULE.plan())
    for sample, each in enumerate(
        [prompt(4, "image", 7), prompt(3, "image", 12, seed=5), prompt(6, "image", 2, seed=6)]
    ):
        alone = Answered.of(model, each.inputs, 4).divergence(model, SCHEDULE.plan())
        torch.testing.assert_close(together[sample : sample + 1], alone, rtol=1e-6, atol=1e-9)


def test_answers_end_where_the_model_ends_them(model: PreTrainedModel) -> None:
    inputs = batch()
    spoken = Answered.of(model, inputs, 4).answer
    model.generation_config.eos_token_id = int(spoken[0, 1])
    try:
        answered = Answered.of(model, inputs, 4)
    finally:
        model.generation_config.eos_token_id = None
    lengths = [1 + each.index(int(spoken[0, 1])) if int(spoken[0, 1]) in each else 4 for each in spoken.tolist()]
    assert answered.said.sum(1).tolist() == lengths
    assert lengths[0] == 2


@pytest.mark.parametrize("method", [VTW(3), HiMAP(2, 0.5, 4, 0.5), VisiPruner(2)], ids=str)
def test_methods_that_do_more_than_cut_are_measured_as_well(model: PreTrainedModel, method: Any) -> None:
    """Against `generate` under `prune`, which goes the same way as far as it says the same."""
    answered = Answered.of(model, batch(), 4)
    read = answered.read(model, method.plan())
    with prune(model, method):
        made = model.generate(
            **batch(), max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
    torch.testing.assert_close(read[:, 0].float(), made.logits[0], rtol=1e-5, atol=1e-6)


def test_a_generate_that_takes_no_dictation_is_told_of() -> None:
    entry = ZOO["janus"]
    model = entry.build()
    answered = Answered.of(model, entry.batch([entry.prompt(3, "image", 6, seed=1)]), 4)
    assert answered.along
    with pytest.raises(UnsupportedUsageError, match="dictated"):
        replace(answered, along=False).divergence(model, SCHEDULE.plan())
