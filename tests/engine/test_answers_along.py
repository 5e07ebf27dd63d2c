"""An answer that is read together with its prompt reads what it would read later, on the prompt's cache."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.exact import EXACTLY
from tests.matrix import METHODS, models_in_turns, prompts
from tests.tiny import batch_of, prompt
from visionflow import HiMAP, Method, UnsupportedUsageError, prune
from visionflow.core import Plan, Seeded
from visionflow.core.tokens import find_tokens
from visionflow.engines.hf.scope import Scope

ANSWER = 5


def answered(inputs: dict[str, Any], seed: int = 3) -> dict[str, Any]:
    """The batch with answers of 5, 4, ... tokens after it, padded on the right."""
    batch = len(inputs["input_ids"])
    words = torch.randint(3, 80, (batch, ANSWER), generator=torch.Generator().manual_seed(seed))
    said = torch.arange(ANSWER) < torch.tensor([ANSWER - sample % ANSWER for sample in range(batch)]).unsqueeze(1)
    return inputs | {
        "input_ids": torch.cat([inputs["input_ids"], words.masked_fill(~said, 0)], 1),
        "attention_mask": torch.cat([inputs["attention_mask"], said.long()], 1),
    }


def along(model: PreTrainedModel, plan: Plan, inputs: dict[str, Any]) -> Tensor:
    with Scope(model, plan, answer_tokens=ANSWER), torch.no_grad():
        logits: Tensor = model(**answered(inputs), use_cache=False, logits_to_keep=ANSWER + 1).logits
    return logits[:, :-1]


def on_the_cache(model: PreTrainedModel, plan: Plan, inputs: dict[str, Any]) -> Tensor:
    both, length = answered(inputs), inputs["input_ids"].shape[1]
    with Scope(model, plan), torch.no_grad():
        read = model(**inputs, use_cache=True, logits_to_keep=1)
        later = model(
            input_ids=both["input_ids"][:, length:],
            attention_mask=both["attention_mask"],
            past_key_values=read.past_key_values,
        )
    return torch.cat([read.logits, later.logits[:, :-1]], 1)


def only_cuts(method: Method) -> bool:
    plan = method.plan()
    return not (plan.blocks or plan.withheld or plan.adaptive)


@models_in_turns(METHODS)
def test_an_answer_along_reads_what_it_reads_on_the_cache(model: PreTrainedModel, method: Method) -> None:
    inputs = batch_of(prompts())
    if not only_cuts(method):
        with pytest.raises(UnsupportedUsageError, match="cuts at given layers alone"):
            along(model, method.plan(), inputs)
        return
    there = answered(inputs)["attention_mask"][:, -ANSWER:].bool()
    together, later = along(model, method.plan(), inputs), on_the_cache(model, method.plan(), inputs)
    torch.testing.assert_close(together[there], later[there], **EXACTLY)


def test_what_is_kept_does_not_hang_on_the_answer(model: PreTrainedModel) -> None:
    """Rows of the text, of the image, and a draw: none of them sees the answer."""
    inputs = batch_of(prompts())
    for plan in (HiMAP(2, 0.5, 4, 0.75).plan(), Plan(HiMAP(2, 0.5, 4, 0.75).cuts())):
        kept = []
        for seed in (3, 4):
            with Scope(model, plan, answer_tokens=ANSWER) as trace, torch.no_grad():
                model(**answered(inputs, seed), use_cache=False)
            kept.append([stage.kept for stage in trace.stages])
        assert all(torch.equal(a, b) for one, two in zip(*kept, strict=True) for a, b in zip(one, two, strict=True))
    ids = inputs["input_ids"]
    alone = Seeded(1).show(find_tokens(ids, inputs["attention_mask"], 99)).scores
    both = answered(inputs)
    beside = Seeded(1).show(find_tokens(both["input_ids"], both["attention_mask"], 99, answer_tokens=ANSWER)).scores
    assert alone is not None
    assert beside is not None
    real = inputs["attention_mask"].bool()
    assert torch.equal(alone[real], beside[:, : ids.shape[1]][real])


def test_a_prompt_is_costed_without_its_answer(model: PreTrainedModel) -> None:
    inputs = batch_of([prompt(4, "image", 7)])
    method = HiMAP(2, 0.5, 4, 0.75)
    with prune(model, method) as alone, torch.no_grad():
        model(**inputs)
    with Scope(model, method.plan(), answer_tokens=ANSWER) as beside, torch.no_grad():
        model(**answered(inputs), use_cache=False)
    assert beside.work_of(0) == alone.work_of(0)
