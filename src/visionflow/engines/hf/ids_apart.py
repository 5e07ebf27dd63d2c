"""Ids of models whose language model is called with embeddings (BLIP-2): noted where they come in, used once."""

import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


class IdsApart:
    """The ids of the prompt that comes next, thread by thread; none between calls, whatever became of the last one."""

    def __init__(self) -> None:
        self._local = threading.local()

    def follow(self, model: nn.Module) -> list[Callable[[], None]]:
        """Note the ids of each call of the whole model while it runs; what comes back undoes it."""
        names = list(inspect.signature(model.forward).parameters)

        def begin(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._local.ids = {**dict(zip(names, args, strict=False)), **kwargs}.get("input_ids")

        def end(model: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            self._local.ids = None

        return [
            model.register_forward_pre_hook(begin, with_kwargs=True).remove,
            model.register_forward_hook(end, always_call=True).remove,
        ]

    @contextmanager
    def noted(self, ids: Tensor | None) -> Iterator[None]:
        """Around a call of the model's `generate` with these."""
        self._local.ids = ids
        try:
            yield
        finally:
            self._local.ids = None

    def take(self, embeds: Tensor | None) -> Tensor | None:
        """The ids of a prompt of embeddings ``[batch, tokens, width]``, repeated as `generate` does for beams."""
        ids: Tensor | None = getattr(self._local, "ids", None)
        if ids is None or embeds is None or ids.shape[1] != embeds.shape[1]:
            return None
        self._local.ids = None
        return ids.repeat_interleave(len(embeds) // len(ids), 0)
