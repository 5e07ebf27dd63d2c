"""Thresholds from a model's own prompts do what they are chosen for."""

from statistics import mean
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from tests.tiny import batch_of, prompt
from visionflow import VisionFlowError, VisiPruner, prune
from visionflow.tuning.thresholds import calibrate


def batches() -> list[dict[str, Any]]:
    return [batch_of([prompt(4, "image", 5 + n, seed=10 * b + n) for n in range(8)]) for b in range(3)]


@pytest.mark.parametrize("options", [{}, {"token_scale": "relative"}, {"shallow_image_to_image": True}], ids=str)
@pytest.mark.parametrize(("fires", "kept"), [(1.0, 3.0), (0.5, 5.0), (0.75, 1.5)])
def test_the_share_asked_for_fires_and_keeps_as_many_as_asked_for(
    model: PreTrainedModel, options: dict[str, Any], fires: float, kept: float
) -> None:
    given = VisiPruner(2, exit_threshold=0.9, **options)
    method = calibrate(model, batches(), given, fires=fires, kept=kept)
    assert (method.exit_threshold, method.shallow_image_to_image) == (0.9, given.shallow_image_to_image)
    samples = []
    for batch in batches():
        with prune(model, method) as trace, torch.no_grad():
            model(**batch)
        samples += trace.decisions[-1].samples
    fired = [sample for sample in samples if sample.firing_layer is not None]
    assert len(fired) == round(fires * len(samples))
    # where no token is above the threshold, one stays all the same
    spare = sum(len(sample.kept) == 1 for sample in fired) / len(fired)
    assert kept - 0.1 <= mean(len(sample.kept) for sample in fired) <= kept + spare + 0.1


def test_text_only_prompts_do_not_count(model: PreTrainedModel) -> None:
    mixed = [batch_of([prompt(4, "image", 5), prompt(9), prompt(4, "image", 7, seed=2)])]
    apart = [prompt(4, "image", 5).inputs, prompt(4, "image", 7, seed=2).inputs]
    one, other = (calibrate(model, batch, VisiPruner(2), fires=1.0, kept=3) for batch in (mixed, apart))
    assert one.layer_threshold == pytest.approx(other.layer_threshold, abs=1e-5)
    assert one.token_threshold == pytest.approx(other.token_threshold, rel=1e-4)


def test_what_is_refused(model: PreTrainedModel) -> None:
    with pytest.raises(VisionFlowError, match="at least one prompt with a picture"):
        calibrate(model, [prompt(9).inputs], VisiPruner(2))
    with pytest.raises(VisionFlowError, match="fires is a share"):
        calibrate(model, batches(), VisiPruner(2), fires=0)
    with pytest.raises(VisionFlowError, match="choose fewer"):
        calibrate(model, batches(), VisiPruner(2), kept=1000)
    with pytest.raises(VisionFlowError, match="leaves nothing to cut in the model's 6 decoder layers"):
        calibrate(model, batches())
    with pytest.raises(VisionFlowError, match="'middle' in its phases"):
        calibrate(model, batches(), VisiPruner(2, phases=("shallow",)))
