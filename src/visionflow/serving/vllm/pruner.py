"""What is attached to one model of vLLM: its stages, the step that runs, and its requests; and how a step is run."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from visionflow.serving.requests import Served
from visionflow.serving.settings import KEY
from visionflow.serving.steps import Step
from visionflow.serving.vllm.config import settings_of
from visionflow.serving.vllm.internals import Attention, get_forward_context, tensor_parallel_group
from visionflow.serving.vllm.pruned_pass import OfPresent, PrunedPass
from visionflow.serving.vllm.stages import stage_backend


class Pruner:
    """Prunes one model.

    Attributes:
        settings: what is done.
        layers: the decoder layers, first to last.
        attentions: vLLM's attention module of each.
        group: the processes that hold the heads; None where there is one.
        step: the step that is about to run; None for one that has no requests, as in profiling.
        told: its runner has prepared it for the next call, with requests or without.
        slots: by the name of a layer behind a cut, the cache slots of the step's rows.
    """

    def __init__(self, model: Any, vllm_config: Any) -> None:
        self.settings = settings_of(vllm_config)
        self.layers = _layers_of(model)
        self.attentions = [_attention_of(layer) for layer in self.layers]
        self.group = tensor_parallel_group()
        self.step: Step | None = None
        self.told = False
        self.slots: dict[str, Tensor] = {}
        self._running: PrunedPass | None = None
        self._served: dict[str, tuple[Any, Served]] = {}
        bounds = (0, *self.settings.cut_layers, len(self.layers))
        for stage, (start, end) in enumerate(pairwise(bounds)):
            self._divide(self.attentions[start:end], stage)

    def _divide(self, attentions: list[Any], stage: int) -> None:
        """Have the layers of a stage know it, by their metadata and, where that is asked for, their KV cache."""
        if stage and attentions:
            backend = stage_backend(attentions[0].attn_backend, stage, self)
            for attention in attentions:
                attention.attn_backend = backend
        if self.settings.shrink_kv:
            from visionflow.serving.vllm.shrink_kv import spec_of_stage

            for attention in attentions:
                told = attention.get_kv_cache_spec
                attention.get_kv_cache_spec = lambda config, told=told: spec_of_stage(told(config), stage)

    def begin(self, requests: Mapping[str, Any], rows: Mapping[str, int], computed: Mapping[str, int]) -> None:
        """Prepare the step of these requests, in the order of their rows, before its metadata are built.

        Args:
            requests: vLLM's state of each.
            rows: how many tokens of each run.
            computed: how many of each have run before.
        """
        self._served = {name: self._served_as(name, state) for name, state in requests.items()}
        served = [self._served[name][1] for name in requests]
        self.told = True
        self.step = Step.of(
            served,
            [rows[name] for name in requests],
            [computed[name] for name in requests],
            len(self.settings.cut_layers),
        )

    def rest(self) -> None:
        """The next step has no requests."""
        self.told, self.step, self.slots = True, None, {}

    def _served_as(self, name: str, state: Any) -> tuple[Any, Served]:
        known = self._served.get(name)
        return known if known is not None and known[0] is state else (state, served_as(self.settings, state))

    def run(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run the model's own `forward`, in a step that cuts with hooks on its layers."""
        step, context = self.step, get_forward_context()
        if not context.attn_metadata:
            return forward(*args, **kwargs)
        if not self.told:
            raise RuntimeError("vLLM's model runner is one that visionflow does not know: it did not tell of this step")
        self.told = False
        if step is None:
            return forward(*args, **kwargs)
        assert isinstance(context.slot_mapping, dict)
        context.slot_mapping.update(self.slots)
        if not step.cuts:
            return forward(*args, **kwargs)
        context.skip_compiled = True
        with PrunedPass(self, step) as self._running:
            try:
                return self._running.restore(forward(*args, **kwargs))
            finally:
                self._running = None

    def picture_features(self, features: Any) -> Any:
        """Features that the decoder adds between layers, by layer; in a pass that cuts, those of the rows left."""
        return features if features is None or self._running is None else OfPresent(features.tensors, self._running)


def served_as(settings: Any, request: Any) -> Served:
    """What becomes of a request, of its state in the scheduler or in a worker: both say the same."""
    params = request.sampling_params
    asked = (params.extra_args or {}).get(KEY)
    return Served.of(settings, request.prompt_token_ids, asked, params.prompt_logprobs is not None)


def _layers_of(model: Any) -> list[nn.Module]:
    """The decoder layers."""
    text = model.get_language_model()
    return list(getattr(text, "model", text).layers)


def _attention_of(layer: nn.Module) -> Any:
    """The one attention module inside a decoder layer."""
    (attention,) = (module for module in layer.modules() if isinstance(module, Attention))
    return attention
