"""Looks into the vision tower while it runs: one layer's attention, as far as it is evidence of the image tokens."""

import inspect
import threading
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from visionflow.core.evidence import Shown
from visionflow.core.tokens import Tokens
from visionflow.core.towers import TowerRows, flow_seen, patches_seen
from visionflow.engines.hf.attention_functions import function_of, put_function
from visionflow.engines.hf.backend import stand_in
from visionflow.engines.hf.joining import JOINS, packed
from visionflow.engines.hf.tower_table import check_tower, feature_layer, layer_looked_at
from visionflow.errors import UnsupportedModelError, UnsupportedUsageError

_ATTENTIONS = ("self_attn", "attention", "attn")
_SAFE = "take a method that looks at no tower, such as HiMAP"


class TowerLook:
    """What the vision tower of `model` shows of the latest pictures that each thread had it encode.

    Args:
        model: the model.
        merger: what encodes its pictures, by ``get_image_features``.
        rows: whose attention in the tower.

    Raises:
        UnsupportedModelError: it is not known how this model's image tokens come from its tower.
    """

    def __init__(self, model: PreTrainedModel, merger: nn.Module, rows: TowerRows) -> None:
        self._vision = check_tower(model.config, rows)
        self._config = model.config
        self._rows = rows
        self._merger: Any = merger
        attentions = _attentions_of(merger.get_submodule(self._vision.path))
        last = layer_looked_at(model.config, len(attentions))
        self._attentions = attentions[0 if rows == "flow" else last : last + 1]
        self._local = threading.local()

    def install(self) -> list[Callable[[], None]]:
        """Look on from now; what comes back takes it off again, last first."""
        undo = [each for place in range(len(self._attentions)) for each in self._watch(place)]
        undo += self._put("get_image_features", self._encoding)
        return undo + (self._put("pack_image_features", self._packing) if self._vision.joining == "packed" else [])

    def _watch(self, place: int) -> list[Callable[[], None]]:
        """Look on at one of the attention modules."""
        attention = self._attentions[place]
        attend, unwatched = function_of(attention), stand_in(attention)

        def attend_watched(
            module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any
        ) -> Any:
            if self._parts is not None:
                self._see(place, module, (query, key, value), attention_mask, kwargs)
            return attend(unwatched, query, key, value, attention_mask, **kwargs)

        return put_function(attention, f"visionflow_{id(self)}_tower_{place}", attend_watched)

    def forget(self) -> None:
        """Let go of what this thread has seen: other pictures come, or none."""
        self._local.values = None

    def shown(self, tokens: Tokens) -> Shown:
        """What was seen, as evidence of `tokens`, all those of the prompt.

        Raises:
            UnsupportedUsageError: the tower did not run inside the scope, or not on these pictures alone.
        """
        values: Tensor | None = getattr(self._local, "values", None)
        if values is None:
            raise UnsupportedUsageError(
                "the vision tower was not seen at work on these pictures: give pixel_values inside the scope, not "
                f"features that are encoded already, or {_SAFE}"
            )
        counts = tokens.image.counts
        repeat = sum(counts) // max(1, len(values))  # beams and returned sequences repeat each sample
        if repeat * len(values) != sum(counts):
            raise UnsupportedUsageError(
                f"the vision tower was seen at work on {len(values)} image tokens and the prompt has {sum(counts)}: "
                f"give pictures alone, no videos, or {_SAFE}"
            )
        if repeat > 1:
            samples = torch.split(values, [*counts[::repeat]])
            values = torch.cat([sample for sample in samples for _ in range(repeat)])
        mask, values = tokens.image.mask.to(values.device), values.float()
        spread = values.new_zeros(*mask.shape, values.shape[1]).masked_scatter(mask.unsqueeze(2), values)
        return Shown(spread[..., 0], spread[..., 1:])

    # -- while pictures are encoded -----------------------------------------------------------------------------------

    @property
    def _parts(self) -> list[Tensor] | None:
        parts: list[Tensor] | None = getattr(self._local, "parts", None)
        return parts

    def _put(self, name: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> list[Callable[[], None]]:
        own = vars(self._merger).get(name)  # a user's
        setattr(self._merger, name, around(getattr(self._merger, name)))
        return [partial(delattr, self._merger, name) if own is None else partial(setattr, self._merger, name, own)]

    def _encoding(self, encode: Callable[..., Any]) -> Callable[..., Any]:
        parameters = inspect.signature(encode)

        @wraps(encode)
        def encode_watched(*args: Any, **kwargs: Any) -> Any:
            given = parameters.bind(*args, **kwargs).arguments
            self._check(given)
            self._local.parts, self._local.packed, self._local.calls = [], None, [0] * len(self._attentions)
            try:
                output = encode(*args, **kwargs)
                self._local.values = self._joined(output.pooler_output, given)
            finally:
                self._local.parts = None
            return output

        return encode_watched

    def _packing(self, pack: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(pack)
        def pack_watched(tiles: Any, *args: Any, **options: Any) -> Any:
            if self._parts:
                self._local.packed = packed(self._parts, pack, tiles, *args, **options)
            return pack(tiles, *args, **options)

        return pack_watched

    def _check(self, given: dict[str, Any]) -> None:
        chosen, usual = given.get("vision_feature_layer"), feature_layer(self._config)
        if chosen is not None and chosen != usual:
            raise UnsupportedUsageError(
                f"vision_feature_layer={chosen} is not the model's own, {usual}, whose attention is looked at: leave "
                "it out, or set it in the config"
            )

    def _see(
        self, place: int, module: Any, states: tuple[Tensor, Tensor, Tensor], mask: Any, options: dict[str, Any]
    ) -> None:
        """Take the queries, keys and values of the module at `place`."""
        query, key, value = states
        if mask is not None and not isinstance(mask, Tensor):
            raise UnsupportedModelError(
                "the vision tower's attention has block masks, which a look at it does not read: call "
                "model.set_attn_implementation('sdpa')"
            )
        if query.shape[1] != getattr(module, "num_heads", query.shape[1]):
            raise UnsupportedModelError(
                f"each process holds some heads of the vision tower: load the model without a tp_plan, or {_SAFE}"
            )
        scaling = options.get("scaling") or query.shape[3] ** -0.5
        ends = options.get("cu_seq_lens_q")  # flash attention takes pictures end to end
        lengths = [query.shape[2]] if ends is None else ends.diff().tolist()
        for q, k, v in zip(*(torch.split(each, lengths, 2) for each in (query, key, value)), strict=True):
            flow = self._rows == "flow"
            self._note(
                place, flow_seen(q, k, v, scaling, mask) if flow else patches_seen(self._rows, q, k, scaling, mask)
            )

    def _note(self, place: int, seen: Tensor) -> None:
        """Take what a module shows, ``[pictures, patches, 1 + width]``: half of the score, where others came before."""
        parts, calls = self._parts, self._local.calls
        assert parts is not None
        number, calls[place] = calls[place], calls[place] + 1
        if number == len(parts):
            parts.append(seen)
        else:
            parts[number] = torch.cat([(parts[number][..., :1] + seen[..., :1]) / 2, seen[..., 1:]], 2)

    def _joined(self, features: Any, given: dict[str, Any]) -> Tensor:
        """What was seen of each image token, ``[image tokens, 1 + width]``."""
        parts = self._parts
        if not parts:
            raise UnsupportedModelError(
                f"the vision tower's attention did not come to its attention function (is it compiled?): {_SAFE}"
            )
        if self._vision.joining == "packed":
            values: Tensor = self._local.packed
            return values
        count = sum(picture.numel() // picture.shape[-1] for picture in features)
        return JOINS[self._vision.joining](parts, count, given, self._config)


def _attentions_of(tower: nn.Module) -> list[nn.Module]:
    """The attention modules of a tower's layers, first to last: not those of its pooling."""
    return [module for name, module in tower.named_modules() if _is_of_layer(name.split("."))]


def _is_of_layer(path: list[str]) -> bool:
    return len(path) > 1 and path[-1] in _ATTENTIONS and path[-2].isdigit()
