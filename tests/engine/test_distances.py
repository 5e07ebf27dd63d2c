"""Inkling adds a bias by distance: by that of columns, whatever was dropped between, and a look at attention has it."""

import pytest
import torch

from tests.zoo import ZOO
from tests.zoo.oracles import cached_equals_uncached, close, drop_equals_shorter, logits_of, model_of
from visionflow import FastV, HiMAP, prune
from visionflow.engines.hf.distances import biased

INKLING = ZOO["inkling_mm_model"]


def test_dropping_equals_the_shorter_sequence() -> None:
    drop_equals_shorter(INKLING, HiMAP(2, 0.5, 4, 0.75))


def test_an_answer_counts_from_what_is_left() -> None:
    cached_equals_uncached(INKLING, FastV(2, 0.5))


@pytest.mark.parametrize("side", ["left", "right"])
def test_each_sample_counts_by_its_own_columns(side: str) -> None:
    """Of two with pictures in other places, one without, padded to the same length."""
    model, method = model_of(INKLING), FastV(2, 0.5)
    prompts = [INKLING.prompt(3, "image", 6), INKLING.prompt(9, "wide", 4, "image", 5, seed=3), INKLING.prompt(9)]
    with prune(model, method):
        alone = [logits_of(model, INKLING.batch([prompt]))[0] for prompt in prompts]
        together = logits_of(model, INKLING.batch(prompts, side))
    for row, single in zip(together, alone, strict=True):
        close(row[-len(single) :] if side == "left" else row[: len(single)], single)


@pytest.mark.parametrize("written", ["causal", "bool", "additive"])
def test_scores_have_the_bias_however_the_mask_is_written(written: str) -> None:
    """Four rows of six keys."""
    bias = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    readable = torch.ones(4, 6, dtype=torch.bool).tril(2)
    additive = torch.zeros(1, 1, 4, 6).masked_fill(~readable, torch.finfo(torch.float32).min)
    mask = {"causal": None, "bool": readable[None, None], "additive": additive}[written]
    expected = bias.masked_fill(~readable, -torch.inf).softmax(-1)
    torch.testing.assert_close(biased(mask, bias).softmax(-1), expected)
