"""Counters beside vLLM's own under ``/metrics``, in each of its processes: front end, scheduler and the model's.

They are seen where ``PROMETHEUS_MULTIPROC_DIR`` names a folder that all processes share, as `visionflow serve` sees to.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import torch
from prometheus_client import Counter
from torch.distributed import ProcessGroup

from visionflow.serving.requests import Served
from visionflow.serving.settings import Settings
from visionflow.serving.shadow import Agreement

# The scheduler's.
_REQUESTS = Counter("visionflow:requests", "Finished requests, by what became of them.", ["outcome"])
_GIVEN = Counter("visionflow:image_tokens", "Image tokens of finished requests.")
_KEPT = Counter("visionflow:image_tokens_kept", "Image tokens of finished requests that the last layer saw.")
_HELD = Counter("visionflow:kv_token_layers", "Prompt tokens times layers of finished requests, had they run dense.")
_SAVED = Counter("visionflow:kv_token_layers_saved", "Of these, those that are not attended to.")

# The model's, of the first of the processes that hold its heads.
_CUT = Counter("visionflow:prompts_cut", "Prompts that the model has cut, those cut again after preemption included.")
_PROBED = Counter("visionflow:probe_seconds", "Time in which the model looked at attention to choose what stays.")

# The front end's.
_SHADOWS = Counter("visionflow:shadow_requests", "Pruned requests to be answered dense, too, by outcome.", ["outcome"])
_COMPARED = Counter("visionflow:shadow_tokens", "Tokens of the pruned answers that were compared.")
_AGREED = Counter("visionflow:shadow_tokens_same", "Of these, those before the first that the dense answer has not.")

_running: deque[tuple[Any, Any]] = deque()
"""Pairs of CUDA events that were not seen to have passed."""


def count(served: Served, settings: Settings) -> None:
    """Count a request that is finished."""
    _REQUESTS.labels(served.outcome).inc()
    _GIVEN.inc(served.image_tokens)
    _KEPT.inc(served.image_tokens - served.dropped(len(settings.cut_layers)))
    _HELD.inc(len(served.prompt_ids) * settings.depth)
    _SAVED.inc(served.saved(settings))


def cut(prompts: int, group: ProcessGroup | None) -> None:
    """Count prompts that were cut, in the first process of those that hold the heads."""
    if _counts(group):
        _CUT.inc(prompts)


@contextmanager
def probing(device: torch.device, group: ProcessGroup | None) -> Iterator[None]:
    """Count the time that what is done inside takes; a GPU is not waited for, its events are read when they passed."""
    if not _counts(group):
        yield
    elif device.type != "cuda":
        start = perf_counter()
        yield
        _PROBED.inc(perf_counter() - start)
    else:
        events = (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))  # type: ignore[no-untyped-call]
        events[0].record()
        yield
        events[1].record()
        _running.append(events)
        _read_events()


def _read_events() -> None:
    while _running and _running[0][1].query():
        start, end = _running.popleft()
        _PROBED.inc(start.elapsed_time(end) / 1000)


def _counts(group: ProcessGroup | None) -> bool:
    return group is None or group.rank() == 0


def compare(agreement: Agreement) -> None:
    """Count a pruned request that was to be answered dense as well."""
    _SHADOWS.labels(agreement.outcome).inc()
    _COMPARED.inc(agreement.tokens)
    _AGREED.inc(agreement.same)
