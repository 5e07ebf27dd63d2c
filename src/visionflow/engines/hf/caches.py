"""KV caches whose layers may hold different lengths, each of which tells what it holds; and those that may not."""

import copy
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, cache_utils
from transformers.cache_utils import (
    DynamicCache,
    DynamicIndexedLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionLayer,
)

from visionflow.engines.hf.layer_kinds import LayerKind, attending
from visionflow.engines.hf.layout import Layout
from visionflow.errors import UnsupportedUsageError

_KEYLESS: Any = getattr(cache_utils, "DummyLayer", None)  # newer than the oldest transformers that is supported


def cache_of(call: Mapping[str, Any]) -> Any:
    """The cache that a call is given or an output holds: ``cache``; before transformers 5.24, ``past_key_values``."""
    found = call.get("cache")
    return call.get("past_key_values") if found is None else found


def cache_name(parameters: Iterable[str]) -> str:
    """What a call of these parameters names its cache."""
    return "cache" if "cache" in parameters else "past_key_values"


def cache_name_of(module: nn.Module) -> str:
    """What a call of a module names its cache."""
    return cache_name(inspect.signature(module.forward).parameters)


class PrunedLayer(DynamicLayer):  # type: ignore[misc]
    """A layer of a pruned cache: some of the prompt's keys may not be there, and it knows which are.

    It is copied, saved and loaded with the cache, and its samples are repeated, selected and reordered with their keys.

    Attributes:
        layout: the columns that it holds, later ones as they come; None for all.
        dropped: tokens of the sequence that it counts without holding their keys. transformers takes positions and
            masks from the length that layer 0 tells, and a layer that has run the whole prompt goes on telling that of
            the whole sequence.
        led: a pass of a scope is running, which makes the masks fit.
        alone: a single token may be added without a scope: there is no mask for it, and every layer is read whole.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, layer: DynamicLayer, layout: Layout | None, alone: bool, dropped: int) -> None:
        """Take the place of `layer`."""
        super().__init__()
        self.led = False
        self.__dict__.update(vars(layer))
        self.dropped = dropped
        self.layout = layout
        self.alone = alone

    def forget(self, place: Tensor) -> None:
        """Keep the keys at `place` ``[batch, keys]``, no others."""
        index = place.to(self.keys.device)[:, None, :, None]
        self.keys, self.values = (
            states.gather(2, index.expand(-1, states.shape[1], -1, states.shape[3]))
            for states in (self.keys, self.values)
        )

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Add keys and values ``[batch, heads, tokens, head_dim]``.

        Raises:
            UnsupportedUsageError: outside a scope, where masks would not fit or fillers would be read.
        """
        if self.is_initialized and not self.led and not (self.alone and key_states.shape[2] == 1):
            raise UnsupportedUsageError(
                "this KV cache was pruned, and the masks of a plain model do not fit what it holds: go on inside a "
                "pruning scope (any will do), as in `with prune(model, method): ...`"
            )
        read: tuple[Tensor, Tensor] = super().update(key_states, value_states, *args, **kwargs)
        return read

    def get_seq_length(self) -> int:
        """Keys held, and those that were taken out."""
        return int(super().get_seq_length() + (self.dropped if self.is_initialized else 0))

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Put the samples in another order, as beam search does."""
        super().reorder_cache(beam_idx)
        self._move(beam_idx, lambda part: part.index_select(0, beam_idx.to(part.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each sample."""
        super().batch_repeat_interleave(repeats)
        self._move(repeats, lambda part: part.repeat_interleave(repeats, 0))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some samples."""
        super().batch_select_indices(indices)
        self._move(indices, lambda part: part[torch.as_tensor(indices, device=part.device)])

    def _move(self, by: object, move: Callable[[Tensor], Tensor]) -> None:
        self.layout = self.layout and self.layout.moved(by, move)


class PrunedIndexedLayer(PrunedLayer, DynamicIndexedLayer):  # type: ignore[misc]
    """The same with an indexer's keys, one for each token held."""

    indexer_keys: Tensor

    def forget(self, place: Tensor) -> None:
        """Keep the keys at `place`, and the indexer's."""
        super().forget(place)
        index = place.to(self.indexer_keys.device).unsqueeze(2)
        self.indexer_keys = self.indexer_keys.gather(1, index.expand(-1, -1, self.indexer_keys.shape[2]))


class PrunedHybridLayer(PrunedLayer, LinearAttentionAndFullAttentionLayer):  # type: ignore[misc]
    """The same of a layer that has states beside its keys."""


_PRUNED: dict[type[Any], type[PrunedLayer]] = {
    DynamicLayer: PrunedLayer,
    DynamicIndexedLayer: PrunedIndexedLayer,
    LinearAttentionAndFullAttentionLayer: PrunedHybridLayer,
}
_KINDS = (*_PRUNED, *_PRUNED.values(), LinearAttentionLayer, _KEYLESS)


@dataclass(frozen=True)
class CacheRecord:
    """What a KV cache holds: per layer, None where every column is held.

    Attributes:
        layouts: one entry per decoder layer.
        total: columns of the sequence so far.
    """

    layouts: list[Layout | None]
    total: int

    @classmethod
    def of(cls, cache: Any, layers: Sequence[LayerKind], keyless: Collection[int], batch: int) -> "CacheRecord":
        """The record of a cache as it is: it may have been copied, and tokens after the prompt cropped off.

        Args:
            cache: a cache, empty or not, or None.
            layers: the decoder layers; those without attention hold no keys, and their states tell nothing.
            keyless: those that read the keys of earlier ones; all cuts come before these.
            batch: samples that are to go on.

        Raises:
            UnsupportedUsageError: a layer does not hold what it says, or not for as many samples.
        """
        total = 0 if cache is None else cache.get_seq_length()
        record: list[Layout | None] = [None] * len(layers)
        for layer in attending(layers) if total else ():
            if layer in keyless:
                record[layer] = record[layer - 1]
                continue
            keys, layout = keys_in(cache, layer), layout_in(cache, layer)
            record[layer] = layout
            length, covered = (total, 0) if layout is None else (layout.length(total), layout.covered)
            if keys != length or total < covered:
                raise UnsupportedUsageError(
                    f"layer {layer} of the KV cache is not as a scope left it ({keys} keys): it was cropped into the "
                    "prompt, extended or rebuilt outside, or left by a pass that failed; start the prompt again"
                )
            if layout is not None and layout.index.shape[0] != batch:
                raise UnsupportedUsageError(
                    f"the KV cache was made for a batch of {layout.index.shape[0]}, not {batch}: repeat it with "
                    "batch_repeat_interleave, or start the prompt again"
                )
        return cls(record, total)

    def leave_in(self, cache: Any, alone: bool, telling: Collection[int]) -> None:
        """Let the layers of a cache that was pruned tell what they hold.

        Args:
            cache: the layers' cache, or None.
            alone: there are no fillers.
            telling: layers that tell the length of the whole sequence: the first with attention, and those that have
                run the whole prompt and let go of keys.
        """
        pruned = [layout for layout in self.layouts if layout is not None]
        alone = alone and all(layout.full and layout.closed is None for layout in pruned)
        for layer, layout in enumerate(self.layouts if pruned else ()):
            if keys_in(cache, layer):
                told = layer in telling or getattr(cache.layers[layer], "dropped", False)
                dropped = self.total - layout.length(self.total) if told and layout is not None else 0
                held = cache.layers[layer]
                cache.layers[layer] = _PRUNED.get(type(held), type(held))(held, layout, alone, dropped)


def lead(cache: Any, led: bool) -> None:
    """Tell the layers of a cache, or None, that a pass of a scope begins or is over."""
    for layer in cache.layers if cache is not None else ():
        if hasattr(layer, "led"):
            layer.led = led


def readable(cache: Any, layer: int) -> Any:
    """A cache to which `layer` may write without a trace; the keys and values that there are, are shared."""
    if cache is None:
        return None
    twin = copy.copy(cache)
    twin.layers = [_twin_of(each) if place == layer else each for place, each in enumerate(cache.layers)]
    return twin


def _twin_of(layer: Any) -> Any:
    """Another layer with the same keys, which grow by concatenation, and copies of its states, written in place."""
    twin = copy.copy(layer)
    states = {name: value for name, value in vars(layer).items() if isinstance(value, dict)}
    for name, value in states.items():
        vars(twin)[name] = {at: one.clone() if isinstance(one, Tensor) else one for at, one in value.items()}
    return twin


def makes_cache(model: PreTrainedModel, call: dict[str, Any]) -> bool:
    """Whether the decoder is about to make a cache of its own."""
    use_cache = call.get("use_cache")
    return bool(getattr(model.config.get_text_config(), "use_cache", False) if use_cache is None else use_cache)


def new_cache(config: PreTrainedConfig) -> DynamicCache | None:
    """The cache that the decoder of a model would make, where it has windows; None where it may as well make it."""
    cache = DynamicCache(config=config.get_text_config())
    return cache if any(_is_window(layer) for layer in cache.layers) else None


def whole_cache(cache: Any) -> Any:
    """The cache, its empty windows replaced by layers that hold everything, and so pruned ones that were emptied.

    A window counts keys, and lets go of the first when later ones come; where tokens are dropped it would hold more of
    the sequence than it is meant to. What a layer with a window may read is told by its mask.
    """
    if type(cache) is DynamicCache:
        for place, layer in enumerate(cache.layers):
            if (_is_window(layer) or isinstance(layer, PrunedLayer)) and not layer.get_seq_length():
                cache.layers[place] = _whole(layer)
    return cache


def _is_window(layer: Any) -> bool:
    return type(layer) in (DynamicSlidingWindowLayer, LinearAttentionAndSlidingWindowAttentionLayer)


def _whole(layer: Any) -> DynamicLayer:
    """An empty layer in the place of one that has not begun, or begins again, to hold all keys."""
    if isinstance(layer, LinearAttentionLayer):
        return LinearAttentionAndFullAttentionLayer(number_of_states=layer.number_of_states)
    return DynamicIndexedLayer() if isinstance(layer, DynamicIndexedLayer) else DynamicLayer()


def keys_in(cache: Any, layer: int) -> int:
    """Keys that a layer of the cache holds: none where it reads those of another, or was never reached."""
    keys = getattr(cache.layers[layer], "keys", None) if layer < len(cache.layers) else None
    return 0 if keys is None else int(keys.shape[2])


def layout_in(cache: Any, layer: int) -> Layout | None:
    """What a layer of the cache holds, None where that is every column."""
    return getattr(cache.layers[layer], "layout", None) if layer < len(cache.layers) else None


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
        if type(layer) not in _KINDS:
            raise UnsupportedUsageError(
                f"a KV cache with a {type(layer).__name__} is not supported: use a DynamicCache()"
            )
