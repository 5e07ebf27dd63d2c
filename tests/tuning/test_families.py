"""`tune` on other families: one that is costed, one that is too and reads pictures both ways, one taken as if not."""

from typing import Any

import pytest

from tests.zoo import ZOO
from visionflow import Method, VisionFlowError, tune
from visionflow.cost.text_models import UNEVEN
from visionflow.tuning import search as searching
from visionflow.tuning import space
from visionflow.tuning.price import MeasuredPrice


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short search, and a clock that counts image tokens."""
    monkeypatch.setattr(searching, "PATIENCE", 2)
    monkeypatch.setattr(searching, "FINALISTS", 2)
    monkeypatch.setattr(space, "MOST_LAYERS", 2)
    monkeypatch.setattr(space, "MORE_KEEPS", (0.0625,))

    def counted(self: MeasuredPrice, method: Method | None) -> float:
        return 600.0 + (600.0 if method is None else sum(method.plan().image_tokens(100, 6)))

    monkeypatch.setattr(MeasuredPrice, "_time", counted)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "cost"), [("qwen2_5_vl", "flops"), ("gemma3", "flops"), ("aria", "time"), ("paligemma", "flops")]
)
def test_a_schedule_is_found(name: str, cost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By time where the cost is not modelled, as if Aria's were not."""
    monkeypatch.delitem(UNEVEN, "aria_text")
    entry = ZOO[name]
    model = entry.build()
    batches = [entry.batch([entry.prompt(3, "image", 6 + seed, seed=seed)]) for seed in range(2)]
    options: dict[str, Any] = {"new_tokens": 2, "choices": ("text", "unlike-mean")}
    found = tune(model, batches, 0.8, **options)
    assert found.cost_name == cost
    assert 0 < found.cost <= 0.8
    assert found.kl >= 0
    assert found.validated
    assert found.along == (name != "paligemma")
    assert ("not modelled" in found.note) == (cost == "time")
    assert found.plan.architecture == name
    if cost == "time":
        with pytest.raises(VisionFlowError, match=r"not modelled.*choose cost 'time'"):
            tune(model, batches, 0.8, cost="flops", **options)
