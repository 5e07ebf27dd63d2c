"""The processor's clock, for work that an accelerator may still be at."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria


def now(device: torch.device) -> float:
    """Seconds, when `device` has finished what was queued on it."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


def seconds(device: torch.device, work: Callable[[], object]) -> float:
    """How long `work` takes."""
    start = now(device)
    work()
    return now(device) - start


class TokenClock(StoppingCriteria):  # type: ignore[misc]
    """Notes when each new token was there, in seconds from the start of `generate`; stops nothing."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: list[float] = []
        self.began = now(device)

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        self.seconds.append(now(self.device) - self.began)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
