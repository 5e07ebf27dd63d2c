"""Hooks before decoder layers, outside of what is compiled of them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import nn

Before = Callable[[int, tuple[Any, ...], dict[str, Any]], Any]
"""Called with a layer's number and arguments; gives others, as a pre-hook of torch does, or None."""


class LayerHook:
    """The pre-hook of one decoder layer; its type is how a scope is found on a model.

    Attributes:
        owner: whose hook it is.
    """

    def __init__(self, owner: Any, layer: int, before: Before) -> None:
        self.owner = owner
        self._layer = layer
        self._before = before

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._before(self._layer, args, kwargs)


class LayerHooks:
    """Those of all layers of a model, on from the start until `take_off`."""

    def __init__(self, owner: Any, layers: Sequence[nn.Module], attended: Iterable[int], before: Before) -> None:
        """Layers that are `attended` run as if they were not compiled: their attention is looked at."""
        self._owner, self._layers, self._before = owner, layers, before
        self._attended = frozenset(attended)
        self._undo = [self._put(index) for index in range(len(layers))]

    def follow_compilation(self) -> None:
        """Come outside of layers that were compiled since."""
        for index, layer in enumerate(self._layers):
            if layer._compiled_call_impl is not None and not isinstance(layer._compiled_call_impl, _Compiled):
                self._undo[index]()
                self._undo[index] = self._put(index)

    def take_off(self) -> None:
        """Leave the layers as they were."""
        for undo in self._undo:
            undo()

    def _put(self, index: int) -> Callable[[], None]:
        """Come before one layer; what comes back takes it off again."""
        layer, hook = self._layers[index], LayerHook(self._owner, index, self._before)
        compiled = layer._compiled_call_impl
        if compiled is None:
            return layer.register_forward_pre_hook(hook, with_kwargs=True).remove
        run = layer._call_impl if index in self._attended else compiled
        behind = layer._compiled_call_impl = _Compiled(layer, hook, run)

        def undo() -> None:
            if layer._compiled_call_impl is behind:  # and not compiled once more
                layer._compiled_call_impl = compiled

        return undo


class _Compiled:
    """A compiled layer behind its hook: it runs as if there were no scope."""

    def __init__(self, layer: nn.Module, hook: LayerHook, run: Callable[..., Any]) -> None:
        self.hook = hook
        self._layer = layer
        self._run = run

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = self.hook(self._layer, args, kwargs)
        args, kwargs = (args, kwargs) if given is None else given
        return self._run(*args, **kwargs)


def owner_of_hook(module: nn.Module) -> Any:
    """Whose hook is on this very module; None for none."""
    for hook in (*module._forward_pre_hooks.values(), getattr(module._compiled_call_impl, "hook", None)):
        if isinstance(hook, LayerHook):
            return hook.owner
    return None
