"""The attention function of one module: which it has, what it can, and another in its place."""

import copy
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from visionflow.errors import UnsupportedModelError


def function_of(module: nn.Module) -> Callable[..., Any]:
    """The attention function that `module` calls."""
    config: Any = module.config
    eager = getattr(inspect.getmodule(type(module)), "eager_attention_forward", None)
    function: Callable[..., Any] = ALL_ATTENTION_FUNCTIONS.get_interface(config._attn_implementation, eager)
    return function


class _Named(str):
    """The name of a wrapper, which compares equal to that of what it wraps: attention modules with an indexer ask."""

    wrapped: str

    def __new__(cls, name: str, wrapped: str) -> "_Named":
        named = super().__new__(cls, name)
        named.wrapped = wrapped
        return named

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.wrapped)

    def __eq__(self, other: object) -> bool:
        return other == self.wrapped or str.__eq__(self, other) is True

    __hash__ = str.__hash__


def put_function(module: nn.Module, name: str, function: Callable[..., Any]) -> list[Callable[[], None]]:
    """Let `module` call `function`, registered under `name`; what comes back takes it off again, last first."""
    config: Any = module.config
    own = config._attn_implementation
    name = f"{name}_{own}"  # transformers also looks for "sdpa" and the like inside the name
    ALL_ATTENTION_FUNCTIONS[name] = function
    own_config = copy.copy(config)
    # The public setter reaches into sub-configs, which are shared.
    own_config._attn_implementation_internal = _Named(name, own) if hasattr(module, "indexer") else name
    module.config = own_config
    return [partial(ALL_ATTENTION_FUNCTIONS.pop, name), partial(setattr, module, "config", config)]


def check_sinks(module: nn.Module, sinks: Tensor | None) -> None:
    """Refuse attention with sinks, which no probe knows.

    Raises:
        UnsupportedModelError: there are some.
    """
    if sinks is not None:
        raise UnsupportedModelError(
            f"{type(module).__name__} adds a sink to its attention (s_aux), which a look at it does not know: "
            "use a method that looks at no attention, such as VTW"
        )


def softcap_of(softcap: float | None, attend: Callable[..., Any]) -> float | None:
    """The bound that `attend` puts on its scores: that of the layer where it names it.

    transformers' sdpa has none: older versions pass over what the layer asks for, newer ones fail.

    Raises:
        UnsupportedModelError: it does not say whether it has one.
    """
    if softcap is None or "softcap" in inspect.signature(attend).parameters:
        return softcap
    if attend is ALL_ATTENTION_FUNCTIONS["sdpa"]:
        return None
    raise UnsupportedModelError(
        f"the attention function {getattr(attend, '__name__', attend)!r} does not say whether it caps scores: "
        "name softcap among its parameters, or call model.set_attn_implementation('eager')"
    )
