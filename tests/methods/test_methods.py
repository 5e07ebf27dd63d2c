"""Fields are checked, counts are as the contract says, presets are the paper's."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedModel

from tests.matrix import AboveAverage
from tests.tiny import batch_of, prompt
from visionflow import VTW, FastV, HiMAP, Method, RandomPruning, VisionFlowError, prune
from visionflow.core import Seeded, find_tokens
from visionflow.core.selection import best
from visionflow.methods import METHODS, Cover, DivPrune, Grid, PyramidDrop, UnlikeMean, VisionZip
from visionflow.methods.base import keep_ratio


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HiMAP(0, 0.5, 8, 0.75), "k1 must be a whole number"),
        (lambda: HiMAP(8, 0.5, 8, 0.75), "k1 must be smaller than k2"),
        (lambda: HiMAP(2, 1.0, 8, 0.75), "0 <= r1 < 1"),
        (lambda: HiMAP(2, 0.5, 8, -0.1), "0 <= r2 < 1"),
        (lambda: HiMAP(2, 0.5, 8, 0.75, "both"), "'paid' or 'received'"),  # type: ignore[arg-type]
        (lambda: FastV(2, float("nan")), "0 <= r < 1"),
        (lambda: FastV(2.0, 0.5), "whole number"),  # type: ignore[arg-type]
        (lambda: FastV(True, 0.5), "whole number"),
        (lambda: VTW(-1), "at least 0"),
        (lambda: FastV(0, 0.5), "at least 1"),
        (lambda: Grid(0.5, -1), "at least 0"),
        (lambda: DivPrune(1.0), "0 <= r < 1"),
        (lambda: VisionZip(0.5, 1), "the share of targets must be at least 0 and below 1"),
        (lambda: VisionZip(0.5, rows="all"), "'cls' or 'received'"),  # type: ignore[arg-type]
        (lambda: UnlikeMean(0.5, 1.5), "whole number"),  # type: ignore[arg-type]
        (lambda: Cover(0.5, top=1.5), "from 0 to 1, not 1.5"),
        (lambda: PyramidDrop((4, 2)), "layers must be increasing"),
        (lambda: PyramidDrop(()), "at least one"),
        (lambda: PyramidDrop((0, 2), when="ran"), "at least 1"),
        (lambda: PyramidDrop((2,), when="before"), "'entry' or 'ran'"),  # type: ignore[arg-type]
        (lambda: RandomPruning(2, 1), "0 <= r < 1"),
        (lambda: RandomPruning(2, 0.5, seed=2**63), r"at least -2\*\*63 and below 2\*\*63"),
        (lambda: RandomPruning(2, 0.5, seed=1.5), "must be a whole number"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_field_is_refused(make: Any, message: str) -> None:
    with pytest.raises(VisionFlowError, match=message):
        make()


@given(st.integers(1, 20_000), st.integers(0, 999))
def test_kept_is_n_minus_the_floor_of_what_is_dropped(n: int, thousandths: int) -> None:
    """In exact arithmetic, where binary fractions would lose a token: 0.29 of 100 is 29."""
    assert keep_ratio(thousandths / 1000)(n) == max(1, n - thousandths * n // 1000)


def test_nothing_is_kept_of_nothing() -> None:
    assert keep_ratio(0.5)(0) == 0
    assert keep_ratio(0.99)(1) == 1


def test_image_tokens_of_the_paper() -> None:
    assert HiMAP(2, 0.5, 8, 0.75).plan().image_tokens(576, 10) == [576] * 2 + [288] * 6 + [72] * 2
    assert FastV(2, 0.5).plan().image_tokens(576, 4) == [576, 576, 288, 288]
    assert VTW(2).plan().image_tokens(576, 4) == [576, 576, 0, 0]


def test_a_count_that_depends_on_the_prompt_is_not_guessed() -> None:
    with pytest.raises(VisionFlowError, match="depends on the prompt"):
        AboveAverage(2).plan().image_tokens(576, 4)


def test_presets_are_table_3() -> None:
    assert HiMAP.preset("llava-1.5-7b", "multiple-choice") == HiMAP(2, 0.5, 8, 0.75)
    assert HiMAP.preset("llava-1.5-13b", "caption") == HiMAP(3, 0.5, 15, 0.75)
    with pytest.raises(VisionFlowError, match="qwen"):
        HiMAP.preset("qwen", "caption")
    with pytest.raises(VisionFlowError, match="multiple-choice"):
        HiMAP.preset("llava-1.5-7b", "ocr")


def test_names_and_text() -> None:
    assert set(METHODS) >= {"himap", "fastv", "vtw", "visipruner", "random"}
    assert all(name == method.name for name, method in METHODS.items())
    assert str(FastV(2, 0.5)) == "FastV(k=2, r=0.5)"
    assert str(HiMAP(2, 0.5, 8, 0.75, deep_criterion="paid")) == "HiMAP(k1=2, r1=0.5, k2=8, r2=0.75)"
    assert str(RandomPruning(2, 0.5, seed=4)) == "RandomPruning(k=2, r=0.5, seed=4)"


def kept_of(model: PreTrainedModel, method: Method, inputs: dict[str, Any]) -> list[list[int]]:
    with prune(model, method) as trace, torch.no_grad():
        model(**inputs)
    return [kept.tolist() for kept in trace.stages[0].kept]


def test_random_draws_differ_by_seed_and_prompt_and_repeat(model: PreTrainedModel) -> None:
    one, other = prompt(3, "image", 6, seed=1), prompt(3, "image", 6, seed=2)
    draws = kept_of(model, RandomPruning(2, 0.5), batch_of([one, other, one]))
    assert draws[0] == draws[2] != draws[1]
    assert kept_of(model, RandomPruning(2, 0.5, seed=1), one.inputs)[0] != draws[0]


def test_random_draws_are_even(model: PreTrainedModel) -> None:
    """Over 400 prompts every one of the 25 places is kept about half the time (13 of 25)."""
    ids = torch.cat([prompt(3, "image", 6, seed=seed).inputs["input_ids"] for seed in range(400)])
    tokens = find_tokens(ids, None, 99)
    (cut,) = RandomPruning(2, 0.5).cuts()
    assert isinstance(cut.evidence, Seeded)
    scores = cut.evidence.show(tokens).scores
    assert scores is not None
    keep = best(scores, tokens.image, (13,) * 400)[:, 4:29].float().mean(0)
    assert ((keep - 13 / 25).abs() < 0.1).all()  # four standard deviations


def test_vtw_search_finds_the_first_layer_that_is_good_enough(model: PreTrainedModel) -> None:
    batches = [batch_of([prompt(3, "image", 6), prompt(9, "image", 4, seed=2)]), prompt(5, "image", 5, seed=3).inputs]
    divergences = {}
    with torch.no_grad():
        full = torch.cat([model(**b).logits[:, -1].log_softmax(-1) for b in batches])
        for k in range(1, 6):
            with prune(model, VTW(k)):
                cut = torch.cat([model(**b).logits[:, -1].log_softmax(-1) for b in batches])
            divergences[k] = float((cut.exp() * (cut - full)).sum(-1).mean())
    threshold = sorted(divergences.values())[1]
    expected = next(k for k in range(1, 6) if divergences[k] <= threshold * 1.0001)
    assert VTW.search(model, batches, threshold=threshold * 1.0001, first=1) == VTW(expected)
    with pytest.raises(VisionFlowError, match="the smallest is"):
        VTW.search(model, batches, threshold=min(divergences.values()) / 2, first=1)
    with pytest.raises(VisionFlowError, match="at least one"):
        VTW.search(model, [])
