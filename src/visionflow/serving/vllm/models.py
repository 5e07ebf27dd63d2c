"""vLLM's own model classes, pruned: subclasses that are made when vLLM asks for one, and only wrap `forward`."""

from importlib import import_module
from typing import Any

from torch import nn

from visionflow.serving.vllm.archs import ARCHITECTURES, PREFIX
from visionflow.serving.vllm.internals import ModelRegistry


def register() -> None:
    """Tell vLLM under which names the pruned classes are; none is imported for it."""
    for name in ARCHITECTURES:
        ModelRegistry.register_model(PREFIX + name, f"{__name__}:{PREFIX}{name}")


def __getattr__(name: str) -> type[nn.Module]:
    """The pruned class of that name."""
    architecture = ARCHITECTURES.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
    if architecture is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"vllm.model_executor.models.{architecture.module}")
    made = _pruned(name, getattr(module, architecture.name))
    globals()[name] = made
    return made


def _pruned(name: str, base: Any) -> type[nn.Module]:
    def __init__(self: Any, *, vllm_config: Any, prefix: str = "") -> None:
        from visionflow.serving.vllm import v1
        from visionflow.serving.vllm.pruner import Pruner

        base.__init__(self, vllm_config=vllm_config, prefix=prefix)
        self.visionflow = Pruner(self, vllm_config)
        v1.install()

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.visionflow.run(super(made, self).forward, *args, **kwargs)

    def _get_deepstack_input_embeds(self: Any, num_tokens: int) -> Any:
        return self.visionflow.picture_features(super(made, self)._get_deepstack_input_embeds(num_tokens))

    def get_model_state_cls(self: Any) -> type[Any]:
        from visionflow.serving.vllm.v2 import PruningModelState

        return PruningModelState

    wrapped = (__init__, forward, get_model_state_cls)
    parts: dict[str, Any] = {"__module__": __name__} | {each.__name__: each for each in wrapped}
    if hasattr(base, "_get_deepstack_input_embeds"):  # picture features that are added between layers
        parts["_get_deepstack_input_embeds"] = _get_deepstack_input_embeds
    made: type[nn.Module] = type(name, (base,), parts)
    return made
