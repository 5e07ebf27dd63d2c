"""The facts of a prompt on every class: what was kept, and what it cost."""

import pytest
import torch

from tests.zoo import ZOO
from tests.zoo.quick import shared_out
from visionflow import RandomPruning
from visionflow.answering import CONVENTIONS, facts_of, scope_of
from visionflow.engines.hf.families import FAMILIES


@pytest.mark.parametrize("name", shared_out(ZOO.keys() & FAMILIES.keys()))
def test_facts_tell_what_was_kept_and_what_it_cost(name: str) -> None:
    entry = ZOO[name]
    model, inputs = entry.build(), entry.batch([entry.prompt(3, "image", 6)])
    for method in (None, RandomPruning(1, 0.5)):
        with scope_of(model, method) as trace, torch.no_grad():
            model(**inputs)
        [facts] = facts_of(model, inputs, trace)
        assert facts.prompt_tokens == inputs["input_ids"].shape[1]
        assert len(facts.kept) == facts.image_tokens[-1]
        assert (facts.image_tokens[-1] < facts.image_tokens[0]) == (method is not None)
        if method is None:
            assert facts.kept == list(range(facts.image_tokens[0]))
        for convention in CONVENTIONS:
            cost = facts.costs[convention]
            assert cost is not None
            assert (cost.pruned < cost.dense) == (method is not None)
