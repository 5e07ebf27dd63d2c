"""One forward pass inside a scope: all that it holds is in one object. Here one that cuts nothing."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from visionflow.engines.hf.backend import Backend
from visionflow.engines.hf.caches import CacheRecord
from visionflow.engines.hf.family import Family
from visionflow.engines.hf.fitting import Fitting
from visionflow.engines.hf.memo import Memo
from visionflow.engines.hf.skip import Attend
from visionflow.engines.hf.static_caches import Loosened

Arguments = dict[str, Any]
Read = Callable[[Tensor, Arguments], None]
"""Runs the layer entered as far as its attention, which is shown to the pass and goes no further: see `Pass.sees`."""


class Pass:
    """Decoding, or a later turn without pictures: masks are fitted to what earlier passes left in each cache.

    Where the batch has neither padding nor fillers there is no mask, and nothing is done at all.

    Attributes:
        cache: the KV cache that the layers write to, or None.
        loosened: where that is a static one, its layers, which grow until the pass ends.
        memo: what is made once for all layers that share it.
        masks: masks as the attention functions have them and as they can be gathered.
        fitting: fits masks, positions and cache layouts.
        reading: a layer is run only to see its attention.
    """

    def __init__(
        self, record: CacheRecord, length: int, backend: Backend, family: Family, cache: Any, rotary: Any
    ) -> None:
        self.cache = cache
        self.loosened: Loosened | None = None
        self.memo = Memo()
        self.masks = backend.masks(self.memo)
        self.reading = False
        self.fitting = Fitting(record, length, backend, family, self.memo, None, rotary)

    def enter(self, layer: int, hidden: Tensor, kwargs: Arguments, read: Read) -> tuple[Tensor, Arguments]:
        """The hidden states and arguments that decoder layer `layer` gets instead of its own."""
        return hidden, self.fitting.enter(layer, kwargs, hidden.shape[1])

    def sees(
        self, layer: int, query: Tensor, key: Tensor, mask: Tensor | None, scaling: float, softcap: float | None
    ) -> None:
        """Queries and keys of `layer`, before they are attended to: nothing is decided here, so nobody looks."""

    def attend(
        self,
        layer: int,
        attend: Attend,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        softcap: float | None,
        **options: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """What the heads of `layer` read, ``[batch, tokens, heads, head_dim]``, and their weights or None.

        `softcap` is for who looks at the layer: `attend` knows of its own.
        """
        return attend(query, key, value, mask, **options)

    def picture_features(self, visual: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Picture features that are added between layers, and where they go: all of them."""
        return visual, features

    def restore(self, hidden: Tensor) -> Tensor:
        """The decoder's output is as long as its input."""
        return hidden

    def leave(self) -> None:
        """Leave in the cache what later passes have to know of it: it knows that already."""
