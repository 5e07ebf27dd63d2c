"""The most memory that a piece of work had in use at one time, above what was in use before it."""

import os
from collections.abc import Callable
from itertools import accumulate
from typing import TypeVar

import torch

Result = TypeVar("Result")


def peak_memory(device: torch.device, work: Callable[[], Result]) -> tuple[int | None, Result]:
    """Bytes that `work` had allocated at its worst moment, its result included; and the result.

    On CUDA the allocator's own peak. On a CPU, where resident memory says little (freed pages stay with the process),
    the sum of torch's allocations and releases as its profiler records them, so `work` runs slower; what a library
    under torch allocates for itself is not seen. None on other devices.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before, result
    if device.type != "cpu":
        return None, work()
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # the profiler would announce itself on standard error
    with torch.autograd.profiler.profile(profile_memory=True) as profiled:
        result = work()
    events = [event for event in profiled.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(accumulate((event.nbytes() for event in events), initial=0)), result
