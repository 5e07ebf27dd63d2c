"""vLLM's first model runner: told to prepare a step of ours where it builds the step's metadata."""

from functools import wraps
from typing import Any

from vllm.v1.worker.gpu_model_runner import GPUModelRunner


def install() -> None:
    """Have the pruner of a runner's model know each step before its metadata are built."""
    build = GPUModelRunner._build_attention_metadata
    if hasattr(build, "__wrapped__"):
        return

    @wraps(build)
    def build_of_step(self: Any, *args: Any, num_scheduled_tokens: Any = None, **kwargs: Any) -> Any:
        pruner = getattr(self.get_model(), "visionflow", None)
        if pruner is not None and num_scheduled_tokens is None:
            pruner.rest()
        elif pruner is not None:
            names = self.input_batch.req_ids
            computed = self.input_batch.num_computed_tokens_cpu
            pruner.begin(
                {name: self.requests[name] for name in names},
                num_scheduled_tokens,
                {name: int(ran) for name, ran in zip(names, computed, strict=False)},
            )
        return build(self, *args, num_scheduled_tokens=num_scheduled_tokens, **kwargs)

    GPUModelRunner._build_attention_metadata = build_of_step
