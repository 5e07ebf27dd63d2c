"""The attention of one layer with the pass looking on, and a layer run no further than that."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from visionflow.engines.hf.attention_functions import check_sinks, function_of, put_function, softcap_of
from visionflow.engines.hf.backend import stand_in
from visionflow.engines.hf.caches import cache_name, cache_of, readable
from visionflow.engines.hf.distances import biased
from visionflow.engines.hf.passes import Arguments, Pass
from visionflow.errors import UnsupportedModelError


class _Seen(Exception):
    """The attention of a layer that was to be read was seen."""


def watch(module: nn.Module, layer: int, active: Callable[[], Pass]) -> list[Callable[[], None]]:
    """Give an attention module its own attention function: the one it had, with the `active` pass looking on.

    What comes back takes it off again, last first.
    """
    attend, unwatched = function_of(module), stand_in(module)

    def attend_watched(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        forward = active()
        kwargs.setdefault("scaling", query.shape[3] ** -0.5)
        check_sinks(module, kwargs.get("s_aux"))
        softcap = softcap_of(kwargs.get("softcap"), attend)
        own = {name: kwargs.pop(name) for name in ("softcap",) if name in kwargs}

        def attend_natively(
            query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any
        ) -> tuple[Tensor, Tensor | None]:
            read: tuple[Tensor, Tensor | None]
            read = attend(unwatched, query, key, value, forward.masks.native(mask), **own, **options)
            return read

        mask = forward.masks.gatherable(attention_mask)
        if kwargs.get("position_bias") is not None:
            mask = biased(mask, kwargs.pop("position_bias"))
        forward.sees(layer, query, key, mask, kwargs["scaling"], softcap)
        if forward.reading:
            raise _Seen
        return forward.attend(layer, attend_natively, query, key, value, mask, softcap, **kwargs)

    # Named after the module: what was compiled while an earlier scope was open is good for this one, too.
    return put_function(module, f"visionflow_{id(module)}_{layer}", attend_watched)


def read(forward: Pass, layer: nn.Module, index: int, hidden: Tensor, kwargs: Arguments) -> None:
    """Run a layer as far as its attention function; nothing is written to the cache.

    Raises:
        UnsupportedModelError: it never came there.
    """
    cache, mask = readable(cache_of(kwargs), index), forward.masks.native(kwargs.get("attention_mask"))
    kwargs = {**kwargs, "attention_mask": mask, cache_name(kwargs): cache}
    try:
        with torch.no_grad():
            layer.forward(hidden, **kwargs)
    except _Seen:
        return
    raise UnsupportedModelError(f"layer {index} never came to its attention function")
