"""Which pass begins with a call: a prompt, a turn with pictures, what goes on without any, a step of an answer."""

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedModel, StaticCache

from visionflow.core.plan import Plan
from visionflow.core.tokens import find_tokens
from visionflow.core.towers import TowerRows
from visionflow.core.trace import Trace
from visionflow.engines.hf.backend import Backend
from visionflow.engines.hf.caches import CacheRecord
from visionflow.engines.hf.families import Family
from visionflow.engines.hf.given import has_pictures, tokens_in
from visionflow.engines.hf.guards import check_length, check_unpacked
from visionflow.engines.hf.ids_apart import IdsApart
from visionflow.engines.hf.passes import Pass
from visionflow.engines.hf.prompt_pass import PromptPass
from visionflow.engines.hf.static_caches import Loosened, check_static, goes_on, layouts_of
from visionflow.engines.hf.tower import TowerLook
from visionflow.errors import UnsupportedUsageError


class Beginning:
    """What a plan makes of the calls of one model.

    Attributes:
        ids: those of prompts that come as embeddings.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        family: Family,
        plan: Plan,
        backend: Backend,
        towers: Mapping[TowerRows, TowerLook],
        answer_tokens: int,
    ) -> None:
        self._model, self._family, self._plan, self._backend = model, family, plan, backend
        self._towers = towers
        self._answer_tokens = answer_tokens
        self._keyless = family.keyless(model)
        self._rotary = getattr(family.decoder_of(model), "rotary_emb", None)
        self.ids = IdsApart()

    def check_static(self) -> None:
        """Refuse static caches where they cannot be right.

        Raises:
            UnsupportedUsageError: see `static_caches.check_static`.
        """
        check_static(self._backend, self._keyless)

    def is_step(self, call: dict[str, Any], cache: Any) -> bool:
        """Whether it is the next token of an answer on a static cache."""
        return goes_on(cache) and tokens_in(call).shape[1] == 1 and not self._has_pictures(call)

    def step(self, call: dict[str, Any], cache: StaticCache) -> Pass:
        """A token on a static cache: nothing is read from the device, and the whole pass may be compiled."""
        record = CacheRecord(layouts_of(cache, len(tokens_in(call))), cache.get_max_length() - 1)
        return self._going_on(record, 1, cache)

    def on_static(
        self, call: dict[str, Any], cache: StaticCache, trace: Trace, generates: bool
    ) -> tuple[Pass, dict[str, Any]]:
        """A prompt, or more of a conversation, on a static cache, whose layers grow meanwhile; and its arguments.

        Args:
            call: of the merger, by name.
            cache: with static layers, or those that an earlier pass left.
            trace: of the scope.
            generates: `generate` calls, which has made masks for static layers.
        """
        self.check_static()
        length = tokens_in(call).shape[1]
        loosened = Loosened(cache, length, getattr(self._model.config.get_text_config(), "sliding_window", None))
        try:
            check_length(self._model, self._plan, loosened.columns)
            mask = call.get("attention_mask")
            if getattr(mask, "ndim", 0) == 2 or generates:
                call = {**call, "attention_mask": loosened.mask(mask, length)}
            forward = self.on(call, cache, trace)
        except BaseException:
            loosened.end(None)
            raise
        forward.loosened = loosened
        return forward, call

    def on(self, call: dict[str, Any], cache: Any, trace: Trace) -> Pass:
        """A prompt, a turn with pictures, or what goes on without any, on a cache that grows or on none.

        Raises:
            UnsupportedUsageError: the sequence is too long, its image tokens are unknown, or samples are packed.
        """
        ids = call.get("input_ids")
        apart = self.ids.take(call.get("inputs_embeds")) if self._family.ids_apart and ids is None else None
        ids = ids if apart is None else apart
        batch, length = (tokens_in(call) if ids is None else ids).shape[:2]
        record = CacheRecord.of(cache, self._backend.layers, self._keyless, batch)
        past = record.total
        check_length(self._model, self._plan, past + length)
        pictures = apart is not None or self._has_pictures(call)
        if past and not pictures:
            return self._going_on(record, length, cache)
        if ids is None:
            raise UnsupportedUsageError("inputs_embeds do not tell which tokens are image tokens: pass input_ids")
        image_token_ids = self._family.image_token_ids(self._model) if pictures else None
        tokens = find_tokens(ids, call.get("attention_mask"), image_token_ids, past, self._answer_tokens)
        if any(tokens.image.counts):
            check_unpacked(call, tokens, masks_tell=self._backend.kind != "keys")
        trace = trace.of_turn(batch) if past else trace.of_prompt(batch)
        parts = (tokens, record, trace, self._backend, cache, self._rotary, self._towers)
        return PromptPass(self._plan, self._family, *parts)

    def _going_on(self, record: CacheRecord, length: int, cache: Any) -> Pass:
        return Pass(record, length, self._backend, self._family, cache, self._rotary)

    def _has_pictures(self, call: dict[str, Any]) -> bool:
        return has_pictures(call, self._family.image_inputs)
