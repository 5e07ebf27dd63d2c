"""vLLM's second model runner: its state of a model, told of each request, prepares a step of ours beside its own."""

from typing import Any

from vllm.v1.worker.gpu.model_states.default import DefaultModelState


class PruningModelState(DefaultModelState):  # type: ignore[misc]
    """State of a model that prunes; the model's class names it, as vLLM lets models do."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.visionflow_requests: dict[str, Any] = {}

    def add_request(self, req_index: int, new_req_data: Any) -> None:
        """Take a request, or one that comes back after it was preempted."""
        super().add_request(req_index, new_req_data)
        self.visionflow_requests[new_req_data.req_id] = new_req_data

    def remove_request(self, req_id: str) -> None:
        """Let go of a request."""
        super().remove_request(req_id)
        self.visionflow_requests.pop(req_id, None)

    def prepare_attn(self, input_batch: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Have the pruner of the model know the step before its metadata are built."""
        requests, names = self.visionflow_requests, input_batch.req_ids
        if requests.keys() >= set(names):
            self.model.visionflow.begin(
                {name: requests[name] for name in names},
                dict(zip(names, input_batch.num_scheduled_tokens.tolist(), strict=True)),
                dict(zip(names, input_batch.num_computed_tokens_np.tolist(), strict=True)),
            )
        else:  # those of a step that only measures have names of their own
            self.model.visionflow.rest()
        metadata: dict[str, Any] = super().prepare_attn(input_batch, *args, **kwargs)
        return metadata
