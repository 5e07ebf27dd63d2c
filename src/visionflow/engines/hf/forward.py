"""A forward pass that drops nothing: it fits masks to what earlier passes left in each layer's cache, and no more."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from visionflow.engines.hf import masks
from visionflow.engines.hf.backend import Backend
from visionflow.engines.hf.caches import CacheRecord
from visionflow.engines.hf.held import Held
from visionflow.engines.hf.skip import Attend


class Forward:
    """Decoding, or a later turn without pictures; `visionflow.engines.hf.prompt.PromptForward` is where cuts happen.

    Where the batch has neither padding nor fillers there is no mask, and nothing is done at all.

    Attributes:
        masks: the masks of this pass, as the attention functions have them and as they can be gathered.
        leaves_alone: layers that get no mask are not to be given one: they read all that their caches hold.
    """

    def __init__(self, record: CacheRecord, length: int, backend: Backend) -> None:
        self.masks = backend.masks()
        self._backend = backend
        self._past = record.total
        self._total = record.total + length
        self._before = record.held
        self.leaves_alone = all(held is None or held.full for held in record.held)
        self._made: dict[tuple[int, ...], tuple[object, Any]] = {}

    def enter(self, layer: int, hidden: Tensor, kwargs: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """The hidden states and arguments that decoder layer `layer` gets instead of its own."""
        held = self._before[layer]
        if held is None:
            return hidden, kwargs
        given = kwargs.get("attention_mask")
        return hidden, {**kwargs, "attention_mask": self._once((given, held), lambda: self._fit(given, held))}

    def probe(
        self, layer: int, query: Tensor, key: Tensor, mask: Tensor | None, scaling: float, softcap: float | None
    ) -> None:
        """Nothing is decided here, so nothing is looked at."""

    def attend(
        self, layer: int, attend: Attend, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None,
        softcap: float | None, **options: Any,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """What the heads of `layer` read, ``[batch, tokens, heads, head_dim]``, and their weights or None.

        `softcap` is for who looks at the layer: `attend` knows of its own.
        """
        return attend(query, key, value, mask, **options)

    def present_features(self, visual: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Picture features that are added between layers, and where they go: all of them."""
        return visual, features

    def restore(self, hidden: Tensor) -> Tensor:
        """The decoder's output is as long as its input."""
        return hidden

    def leave(self, cache: Any) -> None:
        """Leave in the cache what later passes have to know of it: it knows that already."""

    def _fit(self, mask: Tensor | None, held: Held) -> Tensor | None:
        """The mask with the columns that the cache holds."""
        if mask is None and held.full:
            return None  # causal over what is left, in its order
        held = held.until(self._total)
        mask = self._causal(held) if mask is None else masks.take_columns(mask, held.index.to(mask.device))
        return mask if held.full else masks.without_keys(mask, ~held.real.to(mask.device))

    def _causal(self, held: Held) -> Tensor:
        """Causal attention over the columns held, as a mask."""
        if self._backend.kind == "keys":
            return torch.ones_like(held.real)
        return masks.causal(self._columns(held.index), held.index)

    def _columns(self, like: Tensor) -> Tensor:
        """Columns of the tokens present, int64 ``[batch, tokens]``."""
        return torch.arange(self._past, self._total, device=like.device).expand(len(like), -1)

    def _once(self, parts: tuple[object, ...], make: Callable[[], Any]) -> Any:
        """`make()`, once for the same `parts`: layers between two cuts share their masks and positions."""
        key = tuple(id(part) for part in parts)
        if key not in self._made:
            self._made[key] = (parts, make())  # the parts are kept alive, so that their ids stay theirs
        return self._made[key][1]
