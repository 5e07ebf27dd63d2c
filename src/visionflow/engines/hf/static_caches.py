"""Static KV caches: a prompt runs on layers that grow, and what is left of it goes into static ones of its length."""

from collections.abc import Collection
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer, StaticCache, StaticLayer, StaticSlidingWindowLayer

from visionflow.engines.hf.backend import Backend
from visionflow.engines.hf.caches import PrunedLayer
from visionflow.engines.hf.layer_kinds import LayerKind
from visionflow.engines.hf.layout import Layout
from visionflow.engines.hf.memo import Memo
from visionflow.errors import UnsupportedUsageError

_WAY_OUT = "leave out cache_implementation, or pass a DynamicCache()"


class PrunedStaticLayer(StaticLayer):  # type: ignore[misc]
    """A layer of a static cache that a scope has read a prompt into: what was left of it, and room for what follows.

    ``keys`` and ``values`` are ``[batch, heads, rows, head_dim]``, where `rows` are the keys left of the prompt and the
    columns still to come. Masks are made for all columns of the sequence, and gathered: see `Fitting`.

    Attributes:
        layout: the columns of its rows, those to come included; None where nothing is left out.
        columns: how many columns of the sequence the cache has room for.
        dropped: tokens of the sequence that it counts without holding their keys.
        led: a pass of a scope is running, which makes the masks fit.
    """

    def __init__(self, layer: DynamicLayer, layout: Layout | None, columns: int, total: int) -> None:
        """Take the place of `layer`, which has run `total` columns."""
        assert layer.keys is not None
        assert layer.values is not None
        held = layer.keys.shape[2]
        super().__init__(max_cache_len=held + columns - total)
        self.led = False
        self.layout = layout
        self.columns = columns
        self.dropped = total - held
        self.lazy_initialization(layer.keys, layer.values)
        self.keys[:, :, :held] = layer.keys
        self.values[:, :, :held] = layer.values
        self.cumulative_length.fill_(held)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Add keys and values ``[batch, heads, tokens, head_dim]``.

        Raises:
            UnsupportedUsageError: outside a scope, where masks would not fit.
        """
        if self.layout is not None and not self.led:
            raise UnsupportedUsageError(
                "this static KV cache was pruned, and the masks of a plain model do not fit what it holds: go on "
                "inside a pruning scope (any will do), as in `with prune(model, method): ...`"
            )
        read: tuple[Tensor, Tensor] = super().update(key_states, value_states, *args, **kwargs)
        return read

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """All columns of the sequence."""
        return self.columns, 0

    def get_seq_length(self) -> Any:
        """Keys held, and those that were dropped: int64 ``[]``, on the device."""
        return super().get_seq_length() + self.dropped

    def get_max_length(self) -> int:
        """Columns of the sequence that there is room for."""
        return self.columns

    def reset(self) -> None:
        """Let go of everything: the cache is as it was before the prompt."""
        self.__dict__.update(vars(StaticLayer(self.columns)))
        self.layout, self.dropped = None, 0

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Put the samples in another order, as beam search does."""
        super().reorder_cache(beam_idx)
        self.layout = self.layout and self.layout.moved(beam_idx, lambda part: part[beam_idx.to(part.device)])


class Loosened:
    """A static cache whose layers grow for as long as a prompt runs, so that it runs as on any other cache.

    Attributes:
        columns: how many columns of the sequence the cache has room for.
    """

    def __init__(self, cache: StaticCache, length: int, window: int | None) -> None:
        """Put layers that grow in the place of static ones, for `length` more tokens; one read from the device.

        Args:
            cache: empty, or with what came before.
            length: tokens of the pass that begins.
            window: the longest window of the model, which an empty layer with one does not tell.

        Raises:
            UnsupportedUsageError: there is no room for them, or a layer is of another kind.
        """
        self.columns = _columns_of(cache, window)
        self._cache = cache
        self._static = list(cache.layers)
        self._before = int(cache.get_seq_length())
        if self._before + length > self.columns:
            raise UnsupportedUsageError(
                f"the static KV cache has room for {self.columns} tokens, and the sequence has "
                f"{self._before + length}: make it with a larger max_cache_len"
            )
        memo = Memo()
        cache.layers[:] = [_growing(layer, self._before, memo) for layer in self._static]

    def end(self, total: int | None) -> None:
        """Make static layers of what each layer holds of `total` columns; or, None, put back those that were there.

        A pass that failed has left those as they were.
        """
        memo = Memo()
        layers = self._static
        if total is not None:
            layers = [_fixed(layer, self.columns, total, memo) for layer in self._cache.layers]
        self._cache.layers[:] = layers

    def mask(self, given: Any, length: int) -> Tensor | None:
        """The 2-D mask, bool ``[batch, columns]``, of which transformers made masks for static layers, or None.

        Args:
            given: the mask as it came: 2-D, or ``[batch, heads or 1, tokens, columns of the cache]``, or by kinds of
                layers.
            length: tokens of this pass.
        """
        if isinstance(given, dict):
            given = given.get("full_attention", next(iter(given.values())))
        if not isinstance(given, Tensor):
            return None
        end = self._before + length
        if given.dim() == 2:
            return given[:, :end]
        pairs = given[:, 0] if given.dtype == torch.bool else given[:, 0] > torch.finfo(given.dtype).min
        own = pairs.diagonal(self._before, 1, 2)[:, :length]  # a token reads itself, and padding does not
        return torch.cat([pairs[:, -1, : self._before], own], 1)


def goes_on(cache: Any) -> bool:
    """Whether the next token on this cache is a step of an answer, whose masks the layers' own layouts make fit."""
    return isinstance(cache, StaticCache) and all(_is_left(layer) for layer in cache.layers)


def layouts_of(cache: StaticCache, batch: int) -> list[Layout | None]:
    """What the layers of a static cache that a scope left hold, columns to come included.

    Raises:
        UnsupportedUsageError: not for as many samples.
    """
    layouts = [layer.layout for layer in cache.layers]
    made_for = next((len(layout.index) for layout in layouts if layout is not None), batch)
    if made_for != batch:
        raise UnsupportedUsageError(f"the KV cache was made for a batch of {made_for}, not {batch}: start anew")
    return layouts


def check_static(backend: Backend, keyless: Collection[int]) -> None:
    """Refuse static caches where they cannot be right.

    Raises:
        UnsupportedUsageError: the attention is not told by masks of pairs, or layers keep something else than keys.
    """
    if backend.kind != "pairs":
        raise UnsupportedUsageError(
            "flash and flex attention take no mask of a row and its keys, by which the empty rows of a static cache "
            f"are told: call model.set_attn_implementation('sdpa'), or {_WAY_OUT}"
        )
    if keyless or any(kind != LayerKind() for kind in backend.layers):
        raise UnsupportedUsageError(
            "some layers of this model keep no keys of their own, or a state or an indexer's keys beside them, for "
            f"which there are no static layers of different lengths: {_WAY_OUT}"
        )


def _is_left(layer: Any) -> bool:
    return isinstance(layer, PrunedStaticLayer) and layer.is_initialized


def _columns_of(cache: StaticCache, window: int | None) -> int:
    if cache.offloading:
        raise UnsupportedUsageError(f"an off-loaded static cache is not supported: {_WAY_OUT}")
    whole = [layer for layer in cache.layers if not layer.is_sliding]
    columns = int((whole or cache.layers)[0].get_max_length())
    if not whole and (window is None or columns >= window):
        raise UnsupportedUsageError(
            "a static cache of this model, whose layers all have windows, does not tell how long a sequence may be "
            f"once that is longer than a window: {_WAY_OUT}"
        )
    return columns


def _growing(layer: Any, total: int, memo: Memo) -> DynamicLayer:
    """A layer that grows, with the keys of a static one of a sequence of `total` columns."""
    if type(layer) not in (StaticLayer, StaticSlidingWindowLayer, PrunedStaticLayer) or (
        total and isinstance(layer, StaticSlidingWindowLayer)
    ):
        raise UnsupportedUsageError(f"a static KV cache with a {type(layer).__name__} is not supported: {_WAY_OUT}")
    growing = DynamicLayer()
    if not total:
        return growing
    layout: Layout | None = getattr(layer, "layout", None)
    held = total - getattr(layer, "dropped", 0)
    growing.update(layer.keys[:, :, :held], layer.values[:, :, :held])
    if layout is None:
        return growing
    first = memo.once((layout,), partial(_first, layout, held, total))
    return PrunedLayer(growing, first, False, total - held)


def _fixed(layer: DynamicLayer, columns: int, total: int, memo: Memo) -> PrunedStaticLayer:
    """A static layer in the place of one that has run `total` columns."""
    layout: Layout | None = getattr(layer, "layout", None)
    whole = None if layout is None else memo.once((layout,), partial(_until, layout, columns))
    return PrunedStaticLayer(layer, whole, columns, total)


def _until(layout: Layout, columns: int) -> Layout:
    """The same, speaking of all columns that there is room for; what steps of an answer read of it is made already."""
    whole = layout.until(columns)
    whole.places(columns)
    return whole


def _first(layout: Layout, held: int, total: int) -> Layout:
    """The same, speaking of the `total` columns of which there are keys."""
    return Layout(layout.index[:, :held], layout.real[:, :held], layout.full, total, layout.closed)
