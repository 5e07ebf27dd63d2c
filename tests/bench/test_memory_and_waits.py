"""Peak memory of known allocations, and the count of waits for a device that is not here."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from visionflow.bench.clock import HostClock, clock_for, host_waits
from visionflow.bench.memory import peak_memory

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
MIB = 2**20


def mebibytes(count: int) -> Tensor:
    return torch.empty(count * MIB, dtype=torch.uint8)


def test_the_peak_is_the_worst_moment() -> None:
    def work() -> tuple[Tensor, Tensor]:
        kept = mebibytes(4)
        mebibytes(8)  # gone at once
        return kept, mebibytes(2)

    peak, result = peak_memory(CPU, work)
    assert peak == 12 * MIB
    assert [part.nbytes for part in result] == [4 * MIB, 2 * MIB]


def test_what_was_there_before_does_not_count() -> None:
    before = mebibytes(16)
    assert peak_memory(CPU, lambda: before[:MIB].clone())[0] == MIB
    assert peak_memory(CPU, lambda: before.view(-1))[0] == 0


def test_temporaries_inside_an_operation_count() -> None:
    half = torch.ones(MIB, dtype=torch.bfloat16)
    peak, _ = peak_memory(CPU, lambda: half.float().softmax(0).sum())
    assert peak is not None
    assert 8 * MIB <= peak < 9 * MIB


def test_nothing_is_said_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    peak_memory(CPU, lambda: mebibytes(1))
    assert capfd.readouterr() == ("", "")


def test_a_processor_waits_for_nothing() -> None:
    assert host_waits(CPU, lambda: pytest.fail("it is not run")) is None
    assert isinstance(clock_for(CPU), HostClock)


def warn(*messages: str) -> Callable[[], None]:
    def work() -> None:
        for message in messages:
            warnings.warn(message, UserWarning, stacklevel=1)

    return work


def test_waits_are_counted_by_torchs_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[object] = []
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    wait = "called a synchronizing CUDA operation"
    assert host_waits(CUDA, warn(wait, "something else", wait, wait)) == 3
    assert modes == ["warn", 0]
    with pytest.raises(ZeroDivisionError):
        host_waits(CUDA, lambda: 1 // 0)
    assert modes == ["warn", 0] * 2


def test_laps_are_between_marks() -> None:
    clock = HostClock(CPU)
    for _ in range(3):
        clock.mark()
    assert len(clock.laps()) == 2
    assert clock.laps() == []
