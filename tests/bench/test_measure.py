"""A bench of a tiny model with a clock that tells what the test says."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from tests.bench.fakes import FakeClock
from tests.bench.test_bench_rows import AT_THE_TOWER
from tests.tiny import LAYERS, tiny_llava
from visionflow.bench import measure, unclocked
from visionflow.bench.measure import Settings
from visionflow.bench.results import ModelResult, why_not
from visionflow.bench.rows import Variant, all_methods, bench_rows
from visionflow.bench.subject import Subject
from visionflow.core.plan import Plan
from visionflow.cost import DecoderShape, cost_of
from visionflow.errors import VisionFlowError

METHODS = ("random", "himap", "fastv", "vtw", "visipruner")
IMAGE, TEXT, BATCH, NEW = 40, 12, 2, 4
PREFILL = {"none": 8.0, "random": 4.0, "himap": 2.0, "fastv": 4.0, "vtw": 16.0, "visipruner": 5.0}


class Spy:
    """Notes what runs, and times it: the vision encoder 3 s, decoding 6 s, prefills as in `PREFILL`."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.runs: list[str] = []
        self.clock = FakeClock(self._seconds)
        real = measure.running_as

        @contextmanager
        def watched(row: Variant, model: PreTrainedModel) -> Iterator[Any]:
            with real(row, model) as trace:
                self.runs.append(row.name)
                yield trace

        patch.setattr(measure, "running_as", watched)

    def _seconds(self, laps: int) -> list[float]:
        if laps == 1:
            self.runs.append("vision encoder")
            return [3.0]
        return [PREFILL[self.runs[-1]], 6.0]


@pytest.fixture(scope="module")
def watched() -> tuple[ModelResult, list[str]]:
    """One result, which every test reads and none changes, and what ran for it."""
    settings = Settings(METHODS, BATCH, IMAGE, TEXT, NEW, repeats=3)
    with pytest.MonkeyPatch.context() as patch:
        spy = Spy(patch)
        return measure.measure(Subject(tiny_llava(), "tiny", "a note"), settings, clock=spy.clock), spy.runs


@pytest.fixture
def result(watched: tuple[ModelResult, list[str]]) -> ModelResult:
    return watched[0]


def test_dense_and_pruned_runs_take_turns(watched: tuple[ModelResult, list[str]]) -> None:
    result, runs = watched
    names = ["vision encoder", "none", *METHODS]
    assert result.order == [names, names[1:] + names[:1], names[2:] + names[:2]]
    assert runs == [name for turn in result.order for name in turn]


def test_times_are_put_together_as_defined(result: ModelResult) -> None:
    assert result.encoder_s.values == [3, 3, 3]
    for row in result.rows:
        prefill = PREFILL[row.name]
        assert row.prefill_s.values == [prefill] * 3
        assert row.first_token_s.median == prefill + 3
        assert row.answer_s.median == prefill + 3 + 6
        assert row.decode_s is not None
        assert row.decode_s.median == 6 / (NEW - 1)
        assert row.realised.value == 8 / prefill
        assert row.efficiency.value == pytest.approx(8 / prefill / row.bound)
        assert row.decode_speedup is not None
        assert row.decode_speedup.value == 1


def test_the_bound_is_the_cost_models(result: ModelResult) -> None:
    shape = DecoderShape.from_config(tiny_llava().config)
    counts: dict[str, Any] = {"image_tokens": IMAGE, "text_tokens": TEXT, "instruction_tokens": TEXT // 2}
    dense = cost_of(Plan(), shape, "flops", **counts)
    assert (result.rows[0].bound, result.rows[0].flops) == (1, BATCH * dense.dense)
    assert result.rows[0].kv_bytes == BATCH * 2 * dense.kv_bytes_dense  # fp32, where the model takes 16 bits
    for row, asked in zip(result.rows[1:-1], bench_rows(METHODS, LAYERS)[1:-1], strict=True):
        assert asked.method is not None
        cost = cost_of(asked.method, shape, "flops", **counts)
        assert row.flops == BATCH * cost.pruned, row.name
        assert row.bound == pytest.approx(cost.dense / cost.pruned)
        assert row.kv_bytes == BATCH * 2 * cost.kv_bytes_pruned
    assert 1 < result.rows[-1].bound < 4  # VisiPruner's counts come from its run


def test_memory_and_probes_are_told_apart(result: ModelResult) -> None:
    rows = {row.name: row for row in result.rows}
    for row in result.rows:
        assert row.peak_bytes is not None
        assert row.peak_bytes > row.kv_bytes
        assert (row.host_waits_prefill, row.host_waits_answer) == (None, None)
    assert [name for name, row in rows.items() if row.probe_s is None] == ["none", "random", "vtw"]
    for name in ("himap", "fastv", "visipruner"):
        probe, share = rows[name].probe_s, rows[name].probe_share
        assert probe is not None
        assert len(probe.values) == 3
        assert share == probe.median / 8


def test_what_is_known_of_the_model_is_told(result: ModelResult) -> None:
    assert (result.model, result.layers, result.dtype, result.notes) == ("tiny", LAYERS, "float32", ["a note"])
    assert (result.batch, result.image_tokens, result.text_tokens, result.new_tokens) == (BATCH, IMAGE, TEXT, NEW)
    assert result.weights_bytes == sum(weight.nbytes for weight in tiny_llava().parameters())


def test_a_row_that_does_not_pay_says_so(result: ModelResult) -> None:
    assert [row.name for row in result.rows if row.note] == ["vtw"]


def test_two_reasons_why_pruning_does_not_pay() -> None:
    assert "the arithmetic allows no more than 1.04 times" in why_not(1.04, 1.3)
    assert "the arithmetic allows 2.00 times, measured were 0.90" in why_not(2.0, 0.9)
    assert why_not(2.0, 1.1) == ""


def test_the_probes_time_is_theirs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two looks of 1 s with 5 s between them are 2 s."""
    monkeypatch.setattr(unclocked, "clock_for", lambda device: FakeClock(lambda laps: [1.0, 5.0, 1.0][:laps]))
    spy_less = Settings(("himap", "fastv"), 1, IMAGE, TEXT, 1, repeats=1)
    rows = measure.measure(Subject(tiny_llava(), "tiny"), spy_less, clock=FakeClock(lambda laps: [1.0] * laps)).rows
    assert [row.probe_s and row.probe_s.values for row in rows] == [None, [2.0] * 3, [1.0] * 3]


def test_an_answer_of_one_token_has_no_decoding() -> None:
    settings = Settings(("fastv",), 1, IMAGE, TEXT, new_tokens=1, repeats=1)
    result = measure.measure(Subject(tiny_llava(), "tiny"), settings, clock=FakeClock(lambda laps: [1.0, 0.0][:laps]))
    assert all(row.decode_s is None and row.decode_speedup is None for row in result.rows)


def test_one_round_is_run_however_little_time_there_is() -> None:
    settings = Settings(("fastv",), 1, IMAGE, TEXT, repeats=4, time_limit_s=0)
    steps: list[tuple[str, int, int]] = []
    result = measure.measure(
        Subject(tiny_llava(), "tiny"), settings, lambda *step: steps.append(step), FakeClock(lambda laps: [1.0] * laps)
    )
    assert len(result.order) == 1
    assert steps[0] == ("none: memory and probes", 1, 14)
    assert steps[-1] == ("fastv: round 1", 5, 14)


def test_all_methods_that_fit_are_run_where_none_are_named() -> None:
    settings = Settings((), 1, IMAGE, TEXT, new_tokens=1, repeats=1)
    clock = FakeClock(lambda laps: [1.0] * laps)
    assert [row.name for row in measure.measure(Subject(tiny_llava(), "tiny"), settings, clock=clock).rows] == [
        "none",
        *(name for name in all_methods() if name not in AT_THE_TOWER),
    ]


def test_the_model_is_left_as_it_was() -> None:
    model = tiny_llava()
    measure.measure(Subject(model, "tiny"), Settings(METHODS, 1, IMAGE, TEXT, 2, repeats=1))
    assert not any(layer._forward_pre_hooks for layer in model.model.language_model.layers)
    with torch.no_grad():
        for weight, stock in zip(model.parameters(), tiny_llava().parameters(), strict=True):
            assert torch.equal(weight, stock)


def test_numbers_that_are_none_are_not_timed() -> None:
    model = tiny_llava()
    with torch.no_grad():
        model.lm_head.weight.fill_(torch.inf)
    with pytest.raises(VisionFlowError, match="the model's logits are not finite: give another --dtype"):
        measure.measure(Subject(model, "tiny"), Settings(("fastv",), 1, IMAGE, TEXT))


def test_too_little_memory_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(measure, "run_unclocked", full)
    with pytest.raises(VisionFlowError, match="out of memory on cpu: give fewer --layers"):
        measure.measure(Subject(tiny_llava(), "tiny"), Settings(("fastv",), 1, IMAGE, TEXT))
