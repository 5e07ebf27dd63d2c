"""A stopwatch for what runs on a device, and a count of how often the host had to wait for it."""

import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Protocol

import torch

from visionflow.answering.timing import now


class Clock(Protocol):
    """Marks moments, and tells the seconds between them."""

    def mark(self) -> None:
        """Note this moment, when all work before it is done."""

    def laps(self) -> list[float]:
        """Seconds between each two marks; the clock starts anew."""


class _ReadClock:
    """A clock that is read at each mark."""

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read
        self._marks: list[float] = []

    def mark(self) -> None:
        """Note this moment."""
        self._marks.append(self._read())

    def laps(self) -> list[float]:
        """Seconds between each two marks."""
        marks, self._marks = self._marks, []
        return [end - start for start, end in pairwise(marks)]


class HostClock(_ReadClock):
    """The processor's clock; an accelerator finishes what was queued on it first."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(lambda: now(device))


class ProcessorClock(_ReadClock):
    """Processor time of this process, all threads: what other programs do on a busy machine is not in it."""

    def __init__(self) -> None:
        super().__init__(lambda: time.process_time())


class CudaClock:
    """CUDA events. A mark waits for the device, so that no lap hides its launches behind the one before."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._marks: list[Any] = []

    def mark(self) -> None:
        """Record an event and wait for it."""
        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        event.synchronize()
        self._marks.append(event)

    def laps(self) -> list[float]:
        """Seconds between each two events."""
        marks, self._marks = self._marks, []
        return [start.elapsed_time(end) / 1000 for start, end in pairwise(marks)]


def clock_for(device: torch.device) -> Clock:
    """The best clock there is for `device`."""
    return CudaClock(device) if device.type == "cuda" else HostClock(device)


def host_waits(device: torch.device, work: Callable[[], object]) -> int | None:
    """How often `work` makes the host wait for a CUDA device, by torch's own warnings; None on any other device."""
    if device.type != "cuda":
        return None
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode(before)
    return sum("synchronizing CUDA operation" in str(warning.message) for warning in heard)
