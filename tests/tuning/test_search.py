"""The search finds what trying everything finds, never exceeds its budget, and goes on where it was interrupted."""

import math
from collections.abc import Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from tests.tiny import LAYERS, batch_of, prompt
from visionflow import Method, VisionFlowError, method, tune
from visionflow.answering import scope_of
from visionflow.core import Plan
from visionflow.methods import Schedule
from visionflow.methods.schedule import Step
from visionflow.tuning import search as searching
from visionflow.tuning import space
from visionflow.tuning.answered import Answered
from visionflow.tuning.measurements import Measurements
from visionflow.tuning.price import CountedPrice, MeasuredPrice
from visionflow.tuning.search import Search
from visionflow.tuning.space import KEEPS, Space, cascades, neighbours, schedules

# -- a toy with a known best ------------------------------------------------------------------------------------------

HARM = {("text", 1): 0.1, ("text", 2): 0.05, ("text", 3): 0.02, ("last", 1): 0.4, ("last", 2): 0.04, ("last", 3): 0.05}
SPACE = Space((1, 2, 3), ("text", "last"))
DEPTH = 4


class ToyPrice:
    """A layer costs what it has of image tokens, and as much again for text; looking costs nothing."""

    name = "flops"

    def share(self, method: Method) -> float:
        return (sum(method.plan().image_tokens(1000, DEPTH)) / 1000 + DEPTH) / (2 * DEPTH)

    def guess(self, step: Step) -> float:
        return self.share(Schedule((str(step),)))


class ToyKL:
    """The harm of each cut by itself, added up; on other prompts as much."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def kl(self, model: Any, method: Any, part: str, batches: Any, hopeless: float) -> float | None:
        self.asked.append((method.spec, part))
        value = sum(
            (2.0 * step.layer if not step.keep else HARM[step.choice, step.layer] * (1 - step.keep) ** 2)
            for step in method.read
        )
        return None if value > hopeless else value


def toy(budget: float, known: ToyKL | None = None, **options: Any) -> Search:
    return Search(None, SPACE, ToyPrice(), budget, (), (), known or ToyKL(), **options)  # type: ignore[arg-type]


def brute_force(budget: float) -> float:
    """The least KL of all schedules of the grid."""
    best = math.inf
    for count in (1, 2, 3):
        for layers, kept in product(combinations(SPACE.layers, count), combinations(KEEPS, count)):
            for choices in product(SPACE.choices, repeat=count):
                steps = tuple(f"{at}/{choice}/{keep}" for at, choice, keep in zip(layers, choices, kept, strict=True))
                if ToyPrice().share(Schedule(steps)) <= budget:
                    best = min(best, ToyKL().kl(None, Schedule(steps), "tuning", (), math.inf) or math.inf)
    return best


@pytest.mark.parametrize("budget", [0.8, 0.66])
def test_nothing_of_the_grid_is_better_than_what_is_found(budget: float) -> None:
    found = toy(budget).run()
    assert found.stopped == "done"
    assert found.best is not None
    assert found.validation[found.best] <= brute_force(budget) * 1.0001
    assert all(ToyPrice().share(each) <= budget for each in (*found.tuning, *found.validation))


def test_what_is_proposed_first_is_within_the_budget_by_the_sum_of_its_cuts() -> None:
    table = {step: HARM[step.choice, step.layer] * (1 - step.keep) ** 2 for step in SPACE.first_cuts()}
    table |= {
        step: HARM[step.choice, step.layer] * (1 - step.keep) ** 2 for step in SPACE.more_cuts(table) if step.keep
    }
    proposed = schedules(table, ToyPrice(), 0.7)  # type: ignore[arg-type]
    assert [value for value, _ in proposed] == sorted(value for value, _ in proposed)
    for _, steps in proposed:
        assert ToyPrice().share(Schedule(tuple(map(str, steps)))) <= 0.7 + 0.001  # tokens are whole


@pytest.mark.parametrize("budget", [0.9, 0.8, 0.66])
def test_what_one_would_set_by_hand_is_measured_and_keeps_as_much_as_it_may(budget: float) -> None:
    by_hand = cascades(SPACE, ToyPrice(), budget)  # type: ignore[arg-type]
    assert [[step.layer for step in steps] for steps in by_hand] == [[1, 2], [1, 2]]
    for choice, steps in zip(SPACE.choices, by_hand, strict=True):
        assert {step.choice for step in steps} == {choice}
        shares = [_share(choice, keep) for keep in KEEPS]
        assert KEEPS.index(steps[0].keep) == next(at for at, share in enumerate(shares) if share <= budget)
    known = ToyKL()
    toy(budget, known).run()
    assert {(Schedule(tuple(map(str, steps))).spec, "tuning") for steps in by_hand} <= {*known.asked}


def _share(choice: str, keep: float) -> float:
    return ToyPrice().share(Schedule((f"1/{choice}/{keep}", f"2/{choice}/{round(keep**3, 3)}")))


def test_time_is_shared_between_the_phases_and_there_is_a_result() -> None:
    seconds = iter(range(10_000))
    known = ToyKL()
    found = toy(0.7, known, seconds=30.0, clock=lambda: float(next(seconds))).run()
    assert found.stopped == "out of time"
    assert found.best is not None
    assert ToyPrice().share(found.best) <= 0.7
    assert 0 < len(found.table) < len(toy(0.7).run().table)
    assert any(part == "validation" for _, part in known.asked)


def test_control_c_keeps_the_best_so_far() -> None:
    def press(phase: str, done: int, total: int) -> None:
        if phase == "schedules" and done == 4:
            raise KeyboardInterrupt

    found = toy(0.7, on_step=press).run()
    assert found.stopped == "interrupted"
    assert found.best == min(found.tuning, key=lambda each: found.tuning[each])
    assert found.validation == {}


def test_neighbours_are_sound() -> None:
    steps = (Step(1, "text", 0.5), Step(3, "last", 0.1))
    around = neighbours(steps, SPACE)
    assert (Step(1, "text", 0.5),) in around
    assert (Step(2, "text", 0.5), Step(3, "last", 0.1)) in around
    assert steps not in around
    for each in around:
        Schedule(tuple(map(str, each)))


# -- on a model -------------------------------------------------------------------------------------------------------


def batches(number: int = 4, first: int = 0) -> list[dict[str, Any]]:
    """Batches of prompts of all lengths, one or two pictures each."""
    parts: list[tuple[int | str, ...]] = [(4, "image", 7), (2, "image", 12), (3, "image", 2, "image", 9)]
    return [
        batch_of([prompt(*each, seed=first + 10 * at + n) for n, each in enumerate(parts[at % 2 :])])
        for at in range(number)
    ]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search of few layers, shares and schedules: the way is the same."""
    monkeypatch.setattr(searching, "PATIENCE", 2)
    monkeypatch.setattr(searching, "FINALISTS", 2)
    monkeypatch.setattr(space, "MOST_LAYERS", 2)
    monkeypatch.setattr(space, "MORE_KEEPS", (0.0625,))


def flops(model: PreTrainedModel, of: Method | None, inputs: Sequence[dict[str, Any]]) -> int:
    """As torch counts them, less the encoding of the pictures."""
    total = 0
    for each in inputs:
        with FlopCounterMode(display=False) as vision, torch.no_grad():
            model.get_image_features(each["pixel_values"])
        with FlopCounterMode(display=False) as whole, torch.no_grad(), scope_of(model, of):
            model(**each, logits_to_keep=1)
        total += whole.get_total_flops() - vision.get_total_flops()
    return total


def singles() -> list[dict[str, Any]]:
    return [prompt(4, "image", 7).inputs, prompt(2, "image", 12, seed=3).inputs]


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("model", [("llava-grouped", "eager")], indirect=True, ids=["eager"])
@pytest.mark.parametrize("budget", [0.75, 0.65])
def test_the_counted_flops_are_within_the_budget(model: PreTrainedModel, budget: float) -> None:
    found = tune(model, singles(), budget, validation=singles()[:1], new_tokens=1, choices=("text", "unlike-mean"))
    share = flops(model, found.method, singles()) / flops(model, None, singles())
    assert share <= budget
    assert found.cost == pytest.approx(share)
    assert found.cost_name == "flops"
    assert all(row.cost <= budget for row in found.schedules)


def told(found: Any) -> dict[str, Any]:
    return {**found.to_json(), "stopped": ""}


@pytest.mark.usefixtures("few")
def test_an_interrupted_search_goes_on_to_the_same_result(
    model: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"new_tokens": 1, "choices": ("text",)}
    whole = tune(model, batches(2), 0.7, **options)

    def press(phase: str, done: int, total: int) -> None:
        if phase == "schedules" and done == 1:
            raise KeyboardInterrupt

    half = tune(model, batches(2), 0.7, known=Measurements(tmp_path, {"a": 1}), on_step=press, **options)
    assert half.stopped == "interrupted"
    assert not half.validated
    done = len((tmp_path / "measured.jsonl").read_text().splitlines())
    measured: list[Plan] = []
    divergence = Answered.divergence

    def counted(self: Answered, model: PreTrainedModel, plan: Plan) -> Tensor:
        measured.append(plan)
        return divergence(self, model, plan)

    monkeypatch.setattr(Answered, "divergence", counted)
    resumed = tune(model, batches(2), 0.7, known=Measurements(tmp_path, {"a": 1}), **options)
    assert told(resumed) == told(whole)
    assert resumed.plan == whole.plan
    assert len(measured) + done == len((tmp_path / "measured.jsonl").read_text().splitlines())


@pytest.mark.usefixtures("few")
def test_the_plan_file_prunes_the_same(model: PreTrainedModel, tmp_path: Path) -> None:
    found = tune(model, batches(2), 0.7, new_tokens=1, choices=("last",))
    found.save(tmp_path / "plan.json")
    again = method(tmp_path / "plan.json", LAYERS, architecture="llava")
    assert again == found.method
    assert again.plan() == found.method.plan()
    assert found.prompts == (3, 2)
    assert found.validated
    assert found.stopped == "done"


# -- what it costs ----------------------------------------------------------------------------------------------------


def test_kv_bytes(model: PreTrainedModel) -> None:
    price = CountedPrice(model, [prompt(4, "image", 5).inputs], "kv")  # 10 of text, 25 of picture
    assert price.share(Schedule(("2/text/0.2",))) == pytest.approx((2 * 35 + 4 * 15) / (6 * 35))


def test_multiply_adds_of_image_tokens(model: PreTrainedModel) -> None:
    """HiMAP's eq. 10 of 25 image tokens; the text that stands beside them is not in it."""
    config = model.config.text_config
    d, m = config.hidden_size, config.intermediate_size

    def work(n: int) -> int:
        return 4 * n * d**2 + 2 * n**2 * d + 2 * n * d * m

    price = CountedPrice(model, [prompt(4, "image", 5).inputs, prompt(40, "image", 9).inputs], "paper")
    assert price.share(Schedule(("2/text/0.2",))) == pytest.approx((2 * work(25) + 4 * work(5)) / (6 * work(25)))
    gated = CountedPrice(model, [prompt(4, "image", 5).inputs], "gated").share(Schedule(("2/text/0.2",)))
    more = (2 * 25 + 4 * 5) * d * m
    assert gated == pytest.approx((2 * work(25) + 4 * work(5) + more) / (6 * (work(25) + 25 * d * m)))


def test_measured_time_needs_no_model_of_the_cost(model: PreTrainedModel) -> None:
    """With a clock that counts image tokens in place of seconds."""
    ticks: list[float] = []

    def clock(device: Any, work: Any) -> float:
        work()
        return ticks.pop(0)

    price = MeasuredPrice(model, batches(2), clock)
    ticks += [10, 5, 12, 6, 10, 5]  # dense and pruned in turn
    assert price.share(Schedule(("2/text/0.2",))) == 0.5
    ticks += [10, 4, 10, 4, 10, 4]
    assert price.guess(Step(1, "text", 0.25)) == pytest.approx(0.4)
    assert price.guess(Step(6, "last", 0.25)) == pytest.approx(1.0)
    assert price.guess(Step(3, "last", 0.25)) == pytest.approx(1 - 0.6 * 3 / 5)
    assert not ticks


def test_what_is_refused(model: PreTrainedModel) -> None:
    some = batches(2)
    with pytest.raises(VisionFlowError, match="a share of the dense run"):
        tune(model, some, 1.5)
    with pytest.raises(VisionFlowError, match="more than none"):
        tune(model, some, 0.5, minutes=0)
    with pytest.raises(VisionFlowError, match="two batches or more"):
        tune(model, some[:1], 0.5)
    with pytest.raises(VisionFlowError, match="at least one prompt"):
        tune(model, [], 0.5)
    with pytest.raises(VisionFlowError, match="prompts with pictures"):
        tune(model, [*some, prompt(9).inputs], 0.5)
    with pytest.raises(VisionFlowError, match="unknown choice 'magic'"):
        tune(model, some, 0.5, choices=("magic",))
    with pytest.raises(VisionFlowError, match="unknown cost"):
        tune(model, some, 0.5, cost="joules")  # type: ignore[arg-type]
    with pytest.raises(VisionFlowError, match=r"no schedule is within a budget of 0\.05: .* raise the budget"):
        tune(model, some, 0.05, new_tokens=1, choices=("text",))
