"""Pictures that come again are not encoded again, and nothing else changes."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.matrix import model_of, prompts
from tests.tiny import batch_of
from tests.zoo import ZOO
from tests.zoo.quick import shared_out
from visionflow import FastV, prune
from visionflow.core import Cut, Plan, Ratio, Tower
from visionflow.engines.hf.encoded_once import encoded_once
from visionflow.engines.hf.families import FAMILIES
from visionflow.engines.hf.scope import Scope


@pytest.fixture
def model() -> PreTrainedModel:
    return model_of("llava")


@pytest.fixture
def runs(model: PreTrainedModel) -> Iterator[list[Any]]:
    """Grows with each run of the tower."""
    found: list[Any] = []
    hook = model.model.vision_tower.register_forward_hook(lambda *_: found.append(None))
    yield found
    hook.remove()


def answered(model: PreTrainedModel, inputs: dict[str, Any]) -> Tensor:
    with prune(model, FastV(2, 0.5)), torch.inference_mode():
        ids: Tensor = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    return ids


def test_the_same_pictures_are_encoded_once(model: PreTrainedModel, runs: list[Any]) -> None:
    inputs, others = batch_of(prompts()), batch_of(prompts())
    before = [answered(model, each).tolist() for each in (inputs, others)]
    runs.clear()
    with encoded_once(model):
        assert [answered(model, each).tolist() for each in (inputs, others, inputs)] == [*before, before[0]]
        assert len(runs) == 2  # other tensors are other pictures, whatever is in them
    assert answered(model, inputs).tolist() == before[0]
    assert len(runs) == 3


def test_a_look_into_the_tower_has_it_run(model: PreTrainedModel, runs: list[Any]) -> None:
    inputs = batch_of(prompts())
    with encoded_once(model), torch.no_grad():
        for tower_runs in (1, 2):
            with Scope(model, Plan((Cut(0, Ratio(0.5), Tower("cls")),))) as trace:
                model(**inputs)
            assert len(trace.stages) == 1
            assert len(runs) == tower_runs


def test_the_model_is_left_as_it_was(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def own(**_: Any) -> None: ...

    before = dict(vars(model.model))
    with pytest.raises(RuntimeError, match="inside"), encoded_once(model):
        raise RuntimeError("inside")
    assert vars(model.model) == before
    monkeypatch.setitem(vars(model.model), "get_image_features", own)  # a user's
    with encoded_once(model):
        assert model.model.get_image_features is not own
    assert model.model.get_image_features is own


@pytest.mark.parametrize("name", shared_out(ZOO.keys() & FAMILIES.keys()))
def test_every_class_reads_what_is_kept_as_what_is_new(name: str) -> None:
    entry = ZOO[name]
    model, inputs = entry.build(), entry.batch([entry.prompt(3, "image", 6)])
    with torch.inference_mode():
        new = model(**inputs).logits
        with encoded_once(model):
            both = [model(**inputs).logits for _ in range(2)]
    assert all(torch.equal(new, each) for each in both)
