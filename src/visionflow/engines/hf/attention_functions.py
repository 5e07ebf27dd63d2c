"""The attention function of one module: which it has, and another in its place for as long as it is wanted."""

import copy
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


def function_of(module: nn.Module) -> Callable[..., Any]:
    """The attention function that `module` calls."""
    config: Any = module.config
    eager = getattr(inspect.getmodule(type(module)), "eager_attention_forward", None)
    function: Callable[..., Any] = ALL_ATTENTION_FUNCTIONS.get_interface(config._attn_implementation, eager)
    return function


def put_function(module: nn.Module, name: str, function: Callable[..., Any]) -> list[Callable[[], None]]:
    """Let `module` call `function`, registered under `name`; what comes back takes it off again, last first."""
    config: Any = module.config
    # transformers looks for "sdpa" and the like inside the name, so the new one contains it.
    name = f"{name}_{config._attn_implementation}"
    ALL_ATTENTION_FUNCTIONS[name] = function
    own_config = copy.copy(config)
    own_config._attn_implementation_internal = name  # the public setter reaches into sub-configs, which are shared
    module.config = own_config
    return [partial(ALL_ATTENTION_FUNCTIONS.pop, name), partial(setattr, module, "config", config)]
