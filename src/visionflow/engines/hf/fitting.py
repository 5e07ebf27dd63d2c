"""Masks, positions and cache layouts that fit: of the layers after a cut, and of every pass on a pruned cache."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from visionflow.core.tokens import Tokens, per_sample
from visionflow.engines.hf import masks
from visionflow.engines.hf.backend import Backend
from visionflow.engines.hf.caches import CacheRecord
from visionflow.engines.hf.family import Family
from visionflow.engines.hf.layout import Layout, append
from visionflow.engines.hf.memo import Memo
from visionflow.engines.hf.present import Present, take, taken_from


class Fitting:
    """Fits what comes with the hidden states of a layer to the tokens and keys that are left; decides nothing.

    Attributes:
        after: by layer, what its cache holds after this pass.
        leaves_alone: nothing is left out anywhere: layers that get no mask are not to be given one.
    """

    def __init__(
        self,
        record: CacheRecord,
        length: int,
        backend: Backend,
        family: Family,
        memo: Memo,
        present: Present | None,
        rotary: Callable[[Tensor, Tensor], Any] | None = None,
        compact: bool = False,
    ) -> None:
        self.past = record.total
        self.total = record.total + length
        self.after = list(record.layouts)
        layouts = [layout for layout in record.layouts if layout is not None]
        self.leaves_alone = present is None and all(layout.full and layout.closed is None for layout in layouts)
        self._rotary = rotary
        self._compact = compact
        self._before = record.layouts
        self._kind = backend.kind
        self._layers = backend.layers
        self._state_mask = family.state_mask
        self._memo = memo
        self._present = present
        self._token_axes = {"position_embeddings": -2, "position_ids": -1} | dict.fromkeys(family.token_inputs, 1)

    def enter(self, layer: int, kwargs: dict[str, Any], running: int) -> dict[str, Any]:
        """The arguments that decoder layer `layer` gets instead of its own, for `running` tokens."""
        present = self._present
        if present is not None and present.places is not None:
            return self._shortened(layer, kwargs, present.tokens, present.places, running)
        layout = self._before[layer]
        if layout is None:
            return kwargs
        given = kwargs.get("attention_mask")
        mask = self._memo.once((given, layout), lambda: self._fit(given, layout))
        return {**kwargs, "attention_mask": mask, **self._closed_up(layout, kwargs.get("position_ids"), kwargs)}

    def columns(self, layer: int) -> tuple[Tensor, Tensor] | None:
        """Columns of the tokens that run, and of the keys of `layer` with these; None where nothing is left out.

        Both int64 ``[batch, ...]``.
        """
        layout = self.after[layer]
        if layout is None:
            return None
        keys = layout.until(self.total).index
        return self._columns(keys), keys

    def _closed_up(self, layout: Layout, given: Tensor | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Positions and rotary embeddings of tokens with positions `given`, where earlier ones were closed up."""
        if layout.closed is None:
            return {}
        embeddings = kwargs["position_embeddings"]

        def moved() -> dict[str, Any]:
            assert self._rotary is not None
            assert given is not None
            assert layout.closed is not None
            if self._compact:
                places = self._numbered(kwargs["position_ids"])
            else:
                places = given - layout.closed.to(given.device).unsqueeze(1)
            return {"position_ids": places, "position_embeddings": self._rotary(embeddings[0], places)}

        found: dict[str, Any] = self._memo.once((layout, given, embeddings), moved)
        return found

    def _numbered(self, given: Tensor) -> Tensor:
        """Positions of the tokens left, one after the other from that of the first token of the prompt on."""
        assert self._present is not None
        valid = self._present.given.valid.to(given.device)
        first = given.expand(len(valid), -1).gather(1, valid.int().argmax(1, keepdim=True))
        return first + (self._present.tokens.valid.to(given.device).cumsum(1) - 1).clamp(min=0)

    def _shortened(
        self, layer: int, kwargs: dict[str, Any], tokens: Tokens, places: Tensor, running: int
    ) -> dict[str, Any]:
        """The arguments of a layer that runs the tokens left, or only the last `running` of them."""
        given = kwargs.get("attention_mask")
        once = self._memo.once
        kind = self._layers[layer]
        masks: dict[str, Tensor | None] = {}
        layout = self._hold(layer, tokens) if kind.attends else None
        if layout is not None:
            if running < places.shape[1]:  # Gemma 4 in generate: what came with these rows is cut, but for the keys
                return {**kwargs, "attention_mask": once((given, layout), lambda: self._fit(given, layout))}
            masks["attention_mask"] = once((given, places, layout), lambda: self._mask(given, places, layout))
        if kind.mixes:
            masks[self._state_mask] = tokens.valid if self._padded or kwargs.get(self._state_mask) is not None else None
        fitted = {name: self._of_places(kwargs.get(name), places, axis) for name, axis in self._token_axes.items()}
        fitted = {name: part for name, part in fitted.items() if part is not None}
        closed = {} if layout is None else self._closed_up(layout, fitted.get("position_ids"), kwargs)
        if self._kind == "keys" and masks.get("attention_mask", False) is None:
            # Without a mask flash attention takes position ids with gaps for packed sequences.
            closed["position_ids"] = None
        return {**kwargs, **masks, **fitted, **closed}

    def _hold(self, layer: int, tokens: Tokens) -> Layout:
        before, full = self._before[layer], not self._padded
        held = (tokens.columns, tokens.valid, full, self.total)
        layout: Layout = self._memo.once(
            (before, tokens), lambda: append(before, self.past, *held, self._closed(tokens))
        )
        self.after[layer] = layout
        return layout

    def _closed(self, tokens: Tokens) -> Tensor | None:
        """How many of the prompt's tokens are gone, where positions close up."""
        if not self._compact or self._present is None:
            return None
        gone = [n - left for n, left in zip(self._present.given.lengths(), tokens.lengths(), strict=True)]
        return per_sample(gone, tokens.columns.device).squeeze(1)

    @property
    def _padded(self) -> bool:
        return self._present is not None and self._present.padded

    def _of_places(self, value: Any, places: Tensor, axis: int) -> Any:
        return taken_from(value, lambda part: self._memo.once((part, places), lambda: take(part, places, axis)))

    def _mask(self, mask: Tensor | None, places: Tensor, layout: Layout) -> Tensor | None:
        mask = self._fit(masks.take_rows(mask, places.to(mask.device)) if mask is not None else None, layout)
        if self._kind == "keys":
            return None if layout.full and not self.past else mask
        return self._fillers_read_themselves(mask) if mask is not None and self._padded else mask

    def _fillers_read_themselves(self, mask: Tensor) -> Tensor:
        """A row without any key has no softmax: a filler reads itself, and nobody reads the filler."""
        assert self._present is not None
        own = torch.eye(mask.shape[2], device=mask.device, dtype=torch.bool)
        own = torch.nn.functional.pad(own, (mask.shape[3] - mask.shape[2], 0))
        return masks.allow(mask, own & ~self._present.tokens.valid.to(mask.device)[:, None, :, None])

    def _fit(self, mask: Tensor | None, layout: Layout) -> Tensor | None:
        """The mask with the columns that the cache holds."""
        if mask is None and layout.full:
            return None  # causal over what is left, in its order
        places = layout.places(self.total)
        if mask is None:
            return self._causal(places)
        extended: Tensor = self._memo.once((mask, masks.after_nobodys), lambda: masks.after_nobodys(mask))
        return masks.take_columns(extended, places.to(mask.device))

    def _causal(self, places: Tensor) -> Tensor:
        """Causal attention over the columns held, as a mask."""
        real = places > 0
        if self._kind == "keys":
            return real
        real = real[:, None, None, :]
        if self.total - self.past == 1:
            return real
        return real & masks.causal(self._columns(places) + 1, places)

    def _columns(self, like: Tensor) -> Tensor:
        """Columns of the tokens that run, int64 ``[batch, tokens]``."""
        if self._present is not None:
            return self._present.tokens.columns.to(like.device)
        return torch.arange(self.past, self.total, device=like.device).expand(len(like), -1)
