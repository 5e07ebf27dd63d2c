"""Points, fitted exponents, what is left out, and going on after an interruption."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel

from tests.bench.fakes import FakeClock
from tests.tiny import LAYERS, tiny_llava
from visionflow.bench import scaling
from visionflow.bench.points import Points
from visionflow.bench.rounds import TimeLimit
from visionflow.bench.scaling import Grid, Point, Scaling, by_axis, exponents, first_layers, scale, slope
from visionflow.errors import VisionFlowError

BASE = Point(25, 1, LAYERS)
GRID = Grid(BASE, image_tokens=[200, 50, 100], batch=[2, 4], layers=[2, 3])
ASKED = Scaling(GRID, ["himap"], text_tokens=8, repeats=2)


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return tiny_llava()


class Steady:
    """A clock by which every prefill takes as long, and on which other clocks can look."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.now = 0.0
        self.prefills = 0
        self.seconds = seconds
        self.clock = FakeClock(self._seconds)

    def _seconds(self, laps: int) -> list[float]:
        self.now += self.seconds
        self.prefills += 1
        return [self.seconds, 0.0]


def test_axes_meet_in_the_base() -> None:
    assert [point.image_tokens for point in GRID.along("image_tokens")] == [25, 50, 100, 200]
    assert [point.batch for point in GRID.along("batch")] == [1, 2, 4]
    assert [point.layers for point in GRID.along("layers")] == [2, 3, 6]
    assert len(GRID.points()) == 4 + 3 + 3 - 2


def test_the_slope_is_the_exponent() -> None:
    sizes = [144, 288, 576, 1152]
    assert slope(sizes, [3e-7 * size**1.7 for size in sizes]) == pytest.approx(1.7)
    assert slope(sizes, [4.0] * 4) == pytest.approx(0)


def test_exponents_of_synthetic_points() -> None:
    def entry(point: Point) -> dict[str, Any]:
        time = 2.0 * point.image_tokens**1.5 * point.batch * point.layers**0.5
        flops = 7 * point.image_tokens**2 * point.batch * point.layers
        return asdict(point) | {
            "rows": [{"name": "none", "flops": flops, "prefill_s": {"median": time, "values": [time] * 2}}]
        }

    found = exponents(by_axis([entry(point) for point in GRID.points()], BASE))
    assert [(each["axis"], each["row"], each["points"]) for each in found] == [
        ("image_tokens", "none", 4),
        ("batch", "none", 3),
        ("layers", "none", 3),
    ]
    assert [each["flops"] for each in found] == pytest.approx([2, 1, 1])
    assert [each["prefill_s"] for each in found] == pytest.approx([1.5, 1, 0.5])


def test_one_point_has_no_exponent() -> None:
    row = {"name": "none", "flops": 1, "prefill_s": {"median": 1.0, "values": [1.0, 1.0]}}
    assert exponents(by_axis([asdict(BASE) | {"rows": [row]}], BASE)) == []


def test_the_exponent_of_time_leaves_out_what_was_timed_once() -> None:
    """A round that warms up, or was disturbed, says nothing of how time grows."""

    def found(times: dict[int, list[float]]) -> list[tuple[float, float | None, int]]:
        rows = {size: {"name": "none", "flops": size, "prefill_s": {"median": each[0], "values": each}}
                for size, each in times.items()}  # fmt: skip
        axes = {"image_tokens": [{"image_tokens": size, "rows": [row]} for size, row in rows.items()]}
        return [(each["flops"], each["prefill_s"], each["repeated"]) for each in exponents(axes)]  # type: ignore[arg-type]

    assert found({1: [1.0], 2: [9.0], 4: [2.0]}) == [(pytest.approx(1), None, 0)]
    assert found({1: [1.0] * 2, 2: [9.0], 4: [2.0]}) == [(pytest.approx(1), None, 1)]
    assert found({1: [1.0] * 2, 2: [9.0], 4: [2.0] * 3}) == [(pytest.approx(1), pytest.approx(0.5), 2)]


def test_all_points_are_measured_the_cheapest_first(model: PreTrainedModel) -> None:
    store, clock = Points({}), Steady()
    assert scale(model, ASKED, store, clock=clock.clock) == []
    assert len(store.known) == len(GRID.points())
    dense = [entry["rows"][0]["flops"] for entry in store.known.values()]
    assert dense == sorted(dense)
    fitted = {(each["axis"], each["row"]): each for each in exponents(by_axis(list(store.known.values()), BASE))}
    assert fitted["batch", "none"]["flops"] == pytest.approx(1)
    assert fitted["batch", "himap"]["flops"] == pytest.approx(1)
    assert fitted["layers", "none"]["flops"] == pytest.approx(1, abs=0.05)  # but for the output head
    assert 1 < fitted["image_tokens", "none"]["flops"] < 2
    assert fitted["image_tokens", "none"]["prefill_s"] == pytest.approx(0)


def test_rounds_after_the_first_count_and_shallow_models_have_fewer_rows(model: PreTrainedModel) -> None:
    store, clock = Points({}), Steady()
    scale(model, ASKED, store, clock=clock.clock)
    rows = {entry["layers"]: [row["name"] for row in entry["rows"]] for entry in store.known.values()}
    assert rows == {2: ["none"], 3: ["none", "himap"], 6: ["none", "himap"]}
    assert all(
        len(row["prefill_s"]["values"]) == ASKED.repeats for entry in store.known.values() for row in entry["rows"]
    )
    assert clock.prefills == 3 * sum(len(entry["rows"]) for entry in store.known.values())


def test_a_long_point_is_run_once(model: PreTrainedModel) -> None:
    store, clock = Points({}), Steady(seconds=60)
    scale(model, Scaling(Grid(BASE, [], [], []), ["himap"], text_tokens=8), store, clock=clock.clock)
    assert clock.prefills == 2
    assert [row["prefill_s"]["values"] for row in next(iter(store.known.values()))["rows"]] == [[60], [60]]


def test_what_does_not_fit_the_memory_is_left_out_and_named(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling, "free_memory", lambda device: 800_000)
    store = Points({})
    skipped = scale(model, ASKED, store, clock=Steady().clock)
    assert [point["image_tokens"] for point in skipped] == [200]
    assert "GiB are free" in skipped[0]["why"]
    assert len(store.known) == len(GRID.points()) - 1


def test_what_does_not_fit_the_time_is_left_out_and_named(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Steady(seconds=10)
    monkeypatch.setattr(scaling, "TimeLimit", lambda seconds: TimeLimit(seconds, lambda: clock.now))
    asked, store = Scaling(GRID, ["himap"], text_tokens=8, repeats=1, time_limit_s=100), Points({})
    skipped = scale(model, asked, store, clock=clock.clock)
    assert store.known
    assert len(store.known) + len(skipped) == len(GRID.points())
    assert skipped[-1]["image_tokens"] == 200
    assert skipped[-1]["why"].startswith("it would take about ")
    assert clock.now <= 100 + 20


def test_an_interrupted_run_goes_on(model: PreTrainedModel, tmp_path: Path) -> None:
    def stopped(laps: int) -> list[float]:
        if len(first.known) == 2:
            raise KeyboardInterrupt
        return [1.0, 0.0]

    first = Points({"model": "tiny"}, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        scale(model, ASKED, first, clock=FakeClock(stopped))
    with (tmp_path / "points.jsonl").open("a") as file:
        file.write('{"image_tokens": 200, "bat')  # cut off by the interruption

    clock, second = Steady(), Points({"model": "tiny"}, tmp_path)
    assert second.known == first.known
    scale(model, ASKED, second, clock=clock.clock)
    assert len(second.known) == len(GRID.points())
    assert clock.prefills == 3 * sum(len(entry["rows"]) for entry in list(second.known.values())[2:])
    third = Points({"model": "tiny"}, tmp_path)
    assert third.known == second.known
    lines = (tmp_path / "points.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == list(second.known.values())


def test_points_of_other_settings_are_refused(tmp_path: Path) -> None:
    Points({"model": "tiny"}, tmp_path)
    with pytest.raises(VisionFlowError, match="whose model is tiny, not large: choose another --out"):
        Points({"model": "large"}, tmp_path)


POINT = {"image_tokens": 1, "batch": 1, "layers": 1, "rows": [{"name": "none", "flops": 1, "prefill_s": {}}]}


@pytest.mark.parametrize(
    "points", [["[]"], [json.dumps(POINT | {"rows": [3]})], ['{"batch": 1}'], [json.dumps(POINT)] * 2, ["{", "{}"]]
)
def test_damaged_points_are_refused(points: list[str], tmp_path: Path) -> None:
    Points({"model": "tiny"}, tmp_path)
    file = tmp_path / "points.jsonl"
    content = file.read_text() + "".join(point + "\n" for point in points)
    file.write_text(content)
    with pytest.raises(VisionFlowError, match=r"points\.jsonl is damaged in lines? [12]"):
        Points({"model": "tiny"}, tmp_path)
    assert file.read_text() == content


def test_fewer_layers_are_the_first_ones_and_only_for_a_while(model: PreTrainedModel) -> None:
    layers = list(model.model.language_model.layers)
    with first_layers(model, 2):
        assert list(model.model.language_model.layers) == layers[:2]
        assert model.config.text_config.num_hidden_layers == 2
    assert list(model.model.language_model.layers) == layers
    assert model.config.text_config.num_hidden_layers == LAYERS
