"""Scores that are noted as a plan is carried out: the choice is the one that would have been made anyway."""

import pytest
import torch

from tests.matrix import model_of
from tests.tiny import PER_IMAGE, prompt
from visionflow import FastV, HiMAP, Method, RandomPruning, VisiPruner, prune
from visionflow.engines.hf.scope import Scope
from visionflow.flow.choices import Choice, noted, ranks
from visionflow.methods import DivPrune

METHODS: dict[str, Method] = {
    "himap": HiMAP(2, 0.5, 4, 0.75),
    "fastv": FastV(2, 0.5),
    "random": RandomPruning(2, 0.5, seed=0),
    "divprune": DivPrune(k=0, r=0.5),
    "visipruner": VisiPruner(shallow_layers=2, layer_threshold=0.9, token_threshold=0.5),
}


@pytest.mark.parametrize("name", METHODS)
def test_the_kept_are_the_best_by_the_noted_scores(name: str) -> None:
    model, inputs, method = model_of("llava-grouped", "sdpa"), prompt(3, "image", 6).inputs, METHODS[name]
    found: list[Choice] = []
    with torch.no_grad(), Scope(model, noted(method.plan(), found.append)) as trace:
        model(**inputs)
    with torch.no_grad(), prune(model, method) as plain:
        model(**inputs)
    assert [stage.kept[0].tolist() for stage in trace.stages] == [stage.kept[0].tolist() for stage in plain.stages]
    assert [choice.layer for choice in found] == [stage.layer for stage in trace.stages]
    assert len(found[0].columns) == PER_IMAGE
    for choice, stage in zip(found, trace.stages, strict=True):
        if name == "divprune":
            assert choice.scores is None
        else:
            assert choice.scores is not None
            best = choice.columns[ranks(choice.scores) <= len(stage.kept[0])]
            assert best.tolist() == stage.kept[0].tolist()


def test_ranks_count_from_the_highest_and_ties_go_to_the_first() -> None:
    assert ranks(torch.tensor([0.5, 2.0, 0.5, 1.0])).tolist() == [3, 1, 4, 2]
