"""The sweep of figures 4 and 5: right windows, and the numbers that one gets by hand."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.matrix import models
from tests.tiny import LAYERS, Prompt, batch_of, prompt
from visionflow.core import Block, Plan
from visionflow.engines.hf.scope import Scope
from visionflow.errors import UnsupportedUsageError, VisionFlowError
from visionflow.flow import Disruption, Effect, both_flows, first_and_last_layers, flow_shift, sweep
from visionflow.flow.consistency import bias, consistency, log_ratio
from visionflow.flow.disruption_sweep import first_tokens, windows


def samples() -> list[Prompt]:
    """Pictures with questions of different lengths, one with two pictures."""
    return [
        prompt(3, "image", 6),
        prompt(2, "image", 4, "image", 9, seed=3),
        prompt(8, "image", 12, seed=5),
        prompt(1, "image", 2, seed=6),
    ]


def last_logits(model: PreTrainedModel, one: Prompt) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(**one.inputs).logits[0, -1]
    return logits


def by_hand(model: PreTrainedModel, block: Block) -> list[tuple[bool, float]]:
    """Label kept and Jaccard of each sample, alone, from the logits of all rows."""
    found = []
    for one in samples():
        clean = last_logits(model, one)
        with Scope(model, Plan(blocks=(block,))):
            disrupted = last_logits(model, one)
        first, second = ({*logits.topk(5).indices.tolist()} for logits in (clean, disrupted))
        kept = bool(clean.argmax() == disrupted.argmax())
        found.append((kept, len(first & second) / len(first | second)))
    return found


@models
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_sweep_gives_what_one_gets_by_hand(model: PreTrainedModel, side: str) -> None:
    disruptions = [
        Disruption("image", "instruction", [0, 1]),
        Disruption("image", "image", range(1, 4), "zero"),
        Disruption("image", "instruction", []),
    ]
    batches = [batch_of(samples()[:3], side), batch_of(samples()[3:], side)]
    effects = sweep(model, batches, disruptions)
    expected = [
        by_hand(model, Block([0, 1], "image", "instruction")),
        by_hand(model, Block([1, 2, 3], "image", "image", "zero")),
        [(True, 1.0)] * 4,
    ]
    for effect, disruption, hand in zip(effects, disruptions, expected, strict=True):
        assert effect.disruption == disruption
        assert effect.label_kept == tuple(kept for kept, _ in hand)
        assert effect.jaccard == pytest.approx([value for _, value in hand])
    assert min(effects[0].jaccard) < 1  # the flow carries something
    assert not all(effects[0].label_kept)


@pytest.mark.parametrize("side", ["left", "right"])
def test_first_tokens_are_those_of_the_whole_logits(model: PreTrainedModel, side: str) -> None:
    found = first_tokens(model, batch_of(samples(), side))
    for sample, one in enumerate(samples()):
        assert found[sample].tolist() == last_logits(model, one).topk(5).indices.tolist()


def test_every_prefill_is_one_step_and_a_stopped_sweep_goes_on(model: PreTrainedModel) -> None:
    disruptions = [*first_and_last_layers(LAYERS, 2, seed=1), *both_flows(LAYERS, 3, stride=3)]
    batches = [batch_of(samples()[:2]), batch_of(samples()[2:])]
    steps: list[Effect] = []
    whole = sweep(model, batches, disruptions, steps.append)
    assert [step.disruption for step in steps] == disruptions * 2
    later = sweep(model, batches[1:], disruptions)
    half = len(disruptions)
    assert [step.then(rest) for step, rest in zip(steps[:half], later, strict=True)] == whole


def test_a_layer_too_many_is_refused_before_anything_runs(model: PreTrainedModel) -> None:
    def no_batches() -> Any:
        pytest.fail("asked for a batch")
        yield

    with pytest.raises(UnsupportedUsageError, match="0 to 5"):
        sweep(model, no_batches(), [Disruption("image", "image", [1]), Disruption("image", "image", [5, 6])])


def test_windows_have_the_width_and_stay_within_the_model() -> None:
    assert windows(6, 2) == [range(0, 2), range(1, 3), range(2, 4), range(3, 5), range(4, 6)]
    assert windows(6, 2, 2) == [range(0, 2), range(2, 4), range(4, 6)]
    assert windows(5, 2, 2) == [range(0, 2), range(2, 4)]
    assert windows(3, 3) == [range(0, 3)]


@pytest.mark.parametrize("width", [0, 7])
def test_a_window_that_does_not_fit_is_refused(width: int) -> None:
    for make in (windows, both_flows, first_and_last_layers):
        with pytest.raises(VisionFlowError, match=f"window of {width} layers does not fit a model of 6"):
            make(6, width)
    with pytest.raises(VisionFlowError, match="stride"):
        windows(6, 2, 0)


def test_figure_four_is_both_ends_against_the_control() -> None:
    assert first_and_last_layers(8, 5, seed=7, mode="zero") == [
        Disruption("image", "instruction", (0, 1, 2, 3, 4), "zero"),
        Disruption("image", "random", (0, 1, 2, 3, 4), "zero", 7),
        Disruption("image", "instruction", (3, 4, 5, 6, 7), "zero"),
        Disruption("image", "random", (3, 4, 5, 6, 7), "zero", 7),
    ]


def test_figure_five_is_both_flows_in_each_window() -> None:
    assert both_flows(4, 2, stride=2) == [
        Disruption("image", "image", (0, 1)),
        Disruption("image", "instruction", (0, 1)),
        Disruption("image", "image", (2, 3)),
        Disruption("image", "instruction", (2, 3)),
    ]


def test_flow_shift_pairs_the_flows_of_a_window() -> None:
    vv, vt, nothing = (1.0, 0.25, 2 / 3), (2 / 3, 1.0, 2 / 3), (1.0, 1.0, 1.0)
    kept = (True, False, True)
    effects = [
        Effect(Disruption("image", "instruction", (0, 1), "zero"), kept, (0.0, 0.0, 0.0)),
        Effect(Disruption("image", "random", (0, 1), seed=1), kept, (0.0, 0.0, 0.0)),
        Effect(Disruption("image", "instruction", (0, 1)), kept, vt),
        Effect(Disruption("image", "image", (0, 1)), kept, vv),
        Effect(Disruption("image", "image", (1, 2)), kept, vv),
        Effect(Disruption("image", "instruction", (1, 2)), kept, nothing),
        Effect(Disruption("image", "image", (2, 3)), kept, vv),
    ]
    first, second = flow_shift(effects, seed=4)
    assert (first.layers, first.mode, first.samples) == ((0, 1), "renormalise", 3)
    assert (first.e_vv, first.e_vt, first.d) == (bias(vv, 4), bias(vt, 4), log_ratio(vv, vt, 4))
    assert second.layers == (1, 2)
    assert second.e_vt.value == 0
    assert second.d.value is None
    row = json.loads(json.dumps(second.row(), allow_nan=False))
    assert row["d"] == {"value": None, "low": None, "high": None, "undefined_share": 1.0}
    assert row["layers"] == [1, 2]


def test_the_row_of_an_effect_is_json() -> None:
    effect = Effect(Disruption("image", "random", range(2), seed=3), (True, False), (1.0, 0.25))
    row = json.loads(json.dumps(effect.row(seed=5), allow_nan=False))
    label, score = consistency([1, 0], 5), consistency([1.0, 0.25], 5)
    assert row == {
        "source": "image", "target": "random", "layers": [0, 1], "mode": "renormalise", "seed": 3, "samples": 2,
        "label_consistency": {"value": label.value, "low": label.low, "high": label.high},
        "score_consistency": {"value": score.value, "low": score.low, "high": score.high},
    }  # fmt: skip
