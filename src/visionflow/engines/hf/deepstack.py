"""Picture features that a decoder adds between its layers, only where the tokens that they are for are present."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

Process = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Of all picture features and where they go, those of the tokens present: see `Pass.picture_features`."""


def shorten(decoder: nn.Module, of_present: Process) -> list[Callable[[], None]]:
    """Let `decoder` add no features for tokens that are gone; what comes back undoes it."""
    if hasattr(decoder, "_deepstack_process"):
        return [_shorten_process(decoder, of_present)]
    return [decoder.register_forward_pre_hook(partial(_shorten_features, of_present), with_kwargs=True).remove]


def _shorten_process(decoder: Any, of_present: Process) -> Callable[[], None]:
    """Qwen3-VL: a method of the decoder adds them after a layer."""
    process = decoder._deepstack_process

    def process_present(hidden: Tensor, visual: Tensor, features: Tensor) -> Tensor:
        output: Tensor = process(hidden, *of_present(visual, features))
        return output

    decoder._deepstack_process = process_present
    return partial(delattr, decoder, "_deepstack_process")


def _shorten_features(of_present: Process, decoder: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
    """Granite 4 Vision: the decoder's loop adds them before a layer, from a mask and a dict by layer."""
    features, mask = kwargs.get("deepstack_features"), kwargs.get("vision_mask")
    if features is None or mask is None:
        return None
    visual = mask.squeeze(2)
    late = {layer: _Late(partial(_features, of_present, visual, each)) for layer, each in features.items()}
    first = next(iter(features.values()))
    places = _Late(lambda: of_present(visual, first)[0].unsqueeze(2))
    return args, {**kwargs, "deepstack_features": late, "vision_mask": places}


def _features(of_present: Process, visual: Tensor, features: Tensor) -> Tensor:
    return of_present(visual, features)[1]


class _Late:
    """Stands for a tensor whose entries are known only when it is used."""

    def __init__(self, show: Callable[[], Tensor]) -> None:
        self._show = show

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """What is used."""
        return self._show().to(*args, **kwargs)
