"""vLLM's scheduler, with three rules more: prompts that are cut come in one piece, and never from the prefix cache."""

from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

from visionflow.serving.requests import Served
from visionflow.serving.vllm import metrics
from visionflow.serving.vllm.config import settings_of
from visionflow.serving.vllm.pruner import served_as


class Pruning:
    """Mixed into one of vLLM's schedulers."""

    def __init__(self, vllm_config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(vllm_config, *args, **kwargs)  # type: ignore[call-arg]
        self.visionflow_settings = settings_of(vllm_config)
        self.visionflow_served: dict[str, Served] = {}
        if self.visionflow_settings.shrink_kv:
            for manager in self.kv_cache_manager.coordinator.single_type_managers:  # type: ignore[attr-defined]
                manager.dropped = lambda name, stage: self.visionflow_served[name].dropped(stage)

    def add_request(self, request: Any) -> None:
        """Take a request; the cache behind a cut depends on the question, so a picture's is not read again."""
        served = served_as(self.visionflow_settings, request)
        self.visionflow_served[request.request_id] = served
        if served.image_tokens:
            request.skip_reading_prefix_cache = True
        super().add_request(request)  # type: ignore[misc]

    def _try_schedule_encoder_inputs(self, request: Any, num_computed_tokens: int, *args: Any, **kwargs: Any) -> Any:
        """Hold a prompt that is to be cut back until the step has room for all of it."""
        scheduled = super()._try_schedule_encoder_inputs(request, num_computed_tokens, *args, **kwargs)  # type: ignore[misc]
        _, new_tokens, *_ = scheduled
        served = self.visionflow_served[request.request_id]
        if served.pruned and num_computed_tokens == 0 and new_tokens < len(served.prompt_ids):
            budget = args[1] if len(args) > 1 else kwargs["encoder_compute_budget"]
            return [], 0, budget, [], []
        return scheduled

    def _free_request(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Let go of a request, count it, and report what was done where the server is to."""
        kv, encoder = super()._free_request(request, *args, **kwargs)  # type: ignore[misc]
        served = self.visionflow_served.pop(request.request_id)
        metrics.count(served, self.visionflow_settings)
        if self.visionflow_settings.report:
            kv = {**(kv or {}), "visionflow": served.report(self.visionflow_settings)}
        return kv, encoder


class PruningSyncScheduler(Pruning, Scheduler):  # type: ignore[misc]
    """One step at a time."""


class PruningAsyncScheduler(Pruning, AsyncScheduler):  # type: ignore[misc]
    """The next step is scheduled while one runs."""


class PruningScheduler:
    """The one of the two that the configuration asks for; vLLM decides that after it was told of this class."""

    def __new__(cls, vllm_config: Any, *args: Any, **kwargs: Any) -> Any:
        """Make it."""
        kind = PruningAsyncScheduler if vllm_config.scheduler_config.async_scheduling else PruningSyncScheduler
        return kind(vllm_config, *args, **kwargs)
