"""KV caches whose layers may hold different lengths, and those that may not."""

from typing import Any

from torch import Tensor
from transformers import PreTrainedConfig, cache_utils
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from visionflow.errors import UnsupportedUsageError

_KEYLESS: Any = getattr(cache_utils, "DummyLayer", None)  # newer than the oldest transformers that is supported


class ShortLayer(DynamicLayer):  # type: ignore[misc]
    """A cache layer without some of the prompt's keys that still tells the length of the sequence.

    transformers takes positions and masks from the length that layer 0 tells.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, layer: DynamicLayer, place: Tensor) -> None:
        """Keep of `layer` the keys at `place` ``[batch, keys]``."""
        super().__init__()
        self.__dict__.update(vars(layer))
        self.gone = self.keys.shape[2] - place.shape[1]
        index = place.to(self.keys.device)[:, None, :, None]
        self.keys, self.values = (
            states.gather(2, index.expand(-1, states.shape[1], -1, states.shape[3]))
            for states in (self.keys, self.values)
        )

    def get_seq_length(self) -> int:
        """The length of the sequence, keys that are gone included."""
        return int(super().get_seq_length() + self.gone)


def new_cache(config: PreTrainedConfig) -> DynamicCache | None:
    """The cache that the decoder of a model would make, where it has windows; None where it may as well make it."""
    cache = DynamicCache(config=config.get_text_config())
    return cache if any(_is_window(layer) for layer in cache.layers) else None


def whole_cache(cache: Any) -> Any:
    """The cache, its empty windows replaced by layers that hold everything.

    A window counts keys, and lets go of the first when later ones come; where tokens are dropped it would hold more of
    the sequence than it is meant to. What a layer with a window may read is told by its mask.
    """
    if type(cache) is DynamicCache:
        for place, layer in enumerate(cache.layers):
            if _is_window(layer) and not layer.is_initialized:
                cache.layers[place] = DynamicLayer()
    return cache


def _is_window(layer: Any) -> bool:
    return type(layer) is DynamicSlidingWindowLayer


def keys_in(cache: Any, layer: int) -> int | None:
    """Keys that a layer of the cache holds; None for a layer that reads those of another."""
    if type(cache.layers[layer]) is _KEYLESS:
        return None
    return int(cache.layers[layer].keys.shape[2])


def check_cache(cache: Any) -> None:
    """Refuse a KV cache whose layers cannot hold different lengths.

    Raises:
        UnsupportedUsageError: anything but a DynamicCache of plain layers.
    """
    if cache is None:
        return
    if not isinstance(cache, DynamicCache):
        raise UnsupportedUsageError(
            f"a {type(cache).__name__} cannot hold a different length in each layer: use a DynamicCache "
            "(the default of generate; no cache_implementation)"
        )
    for layer in cache.layers:
        if type(layer) not in (DynamicLayer, ShortLayer, _KEYLESS):
            raise UnsupportedUsageError(
                f"a KV cache with a {type(layer).__name__} is not supported: use a DynamicCache()"
            )


def check_unpruned(cache: Any, num_layers: int) -> None:
    """Refuse a cache from elsewhere that is not equally long in all layers."""
    if len({keys_in(cache, layer) for layer in range(num_layers)} - {None}) > 1:
        raise UnsupportedUsageError(
            "the KV cache was pruned in another scope: continue it in that scope, or start the prompt again"
        )
