"""The pass of a prompt: what `Pass` does, and tokens are dropped, on evidence, and flows are blocked."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from visionflow.core import cutting
from visionflow.core.attention import AttentionRows
from visionflow.core.evidence import Attention, Features, Tower
from visionflow.core.layer import LayerAttention
from visionflow.core.plan import Cut, Plan
from visionflow.core.readings import pairs_in_batch, pairs_of_sample
from visionflow.core.tokens import GroupName, Tokens
from visionflow.core.towers import TowerRows
from visionflow.core.trace import Trace
from visionflow.engines.hf import skip
from visionflow.engines.hf.backend import Backend
from visionflow.engines.hf.blocking import Blocking
from visionflow.engines.hf.caches import CacheRecord
from visionflow.engines.hf.cutter import Cutter
from visionflow.engines.hf.family import Family
from visionflow.engines.hf.fitting import Fitting
from visionflow.engines.hf.layout import prompt
from visionflow.engines.hf.passes import Arguments, Pass, Read
from visionflow.engines.hf.present import Present
from visionflow.engines.hf.skip import Attend
from visionflow.engines.hf.tower import TowerLook
from visionflow.errors import UnsupportedUsageError


class PromptPass(Pass):
    """A prompt, or a turn with pictures: tokens are dropped, on evidence, and flows are blocked.

    Attributes:
        present: which tokens there are.
        cutter: who cuts.
        blocking: which flows are blocked.
        pictured: some sample has image tokens.
    """

    def __init__(
        self,
        plan: Plan,
        family: Family,
        tokens: Tokens,
        record: CacheRecord,
        trace: Trace,
        backend: Backend,
        cache: Any,
        rotary: Any,
        towers: Mapping[TowerRows, TowerLook],
    ) -> None:
        super().__init__(record, tokens.columns.shape[1], backend, family, cache, rotary)
        self.present = Present(tokens, family.token_axis)
        compact = plan.positions == "compact"
        self.fitting = Fitting(
            record, tokens.columns.shape[1], backend, family, self.memo, self.present, rotary, compact
        )
        self.cutter = Cutter(plan, tokens, trace, len(record.layouts))
        self.blocking = Blocking(plan, tokens)
        self.pictured = any(tokens.image.counts)
        self._watches = plan.watches
        self._backend = backend
        self._towers = towers
        self._wants_inputs = any(cut.evidence.reads_inputs for cut in plan.cuts)
        self._inputs: Tensor | None = None
        self._check(plan)

    @property
    def trace(self) -> Trace:
        """What was done."""
        return self.cutter.trace

    def _check(self, plan: Plan) -> None:
        counts = zip(self.present.given.image.counts, self.present.given.instruction.counts, strict=True)
        for sample, (image, instruction) in enumerate(counts):
            if image and not instruction and (plan.cuts or plan.adaptive):
                raise UnsupportedUsageError(
                    f"no text follows the picture in sample {sample}: put the question, or text that many questions "
                    "share, after the image token, and give both in one piece (no chunked prefill)"
                )
        if plan.positions == "compact" and self.fitting.past:
            raise UnsupportedUsageError(
                "positions are numbered anew where the prompt comes in one piece: start with an empty KV cache, or "
                "leave positions at 'keep'"
            )
        if self.blocking and self.fitting.past:
            raise UnsupportedUsageError(
                f"blocks need the prompt in one piece: start with an empty KV cache, or {plan.way_out}"
            )

    def enter(self, layer: int, hidden: Tensor, kwargs: Arguments, read: Read) -> tuple[Tensor, Arguments]:
        """The hidden states and arguments that decoder layer `layer` gets instead of its own."""
        before = self.present.tokens
        if layer == 0 and self._wants_inputs:
            self._inputs = self.present.features_in(hidden)
        cut = self.cutter.cut(layer, before)
        if cut is not None:
            self._show(cut, hidden, kwargs, read)
        decided = self.cutter.at(layer, before)
        if decided is not None:
            keep = decided.chosen.keep.to(hidden.device)
            taken = cutting.take(before.to(hidden.device), keep, decided.counts)
            hidden = self.present.drop(hidden, taken, decided.chosen.into)
            self._check_fillers()
        self.cutter.note(layer, self.present.tokens, decided, before)
        return hidden, self._arguments(layer, hidden, kwargs)

    def _arguments(self, layer: int, hidden: Tensor, kwargs: Arguments) -> Arguments:
        """What goes with the hidden states of the tokens present."""
        kwargs = self.fitting.enter(layer, kwargs, self.present.count_in(hidden))
        mask = self.blocking.before(layer, self.present.tokens, kwargs.get("attention_mask"), hidden.device)
        return {**kwargs, "attention_mask": mask}

    def _check_fillers(self) -> None:
        """Refuse what fills up shorter samples where a state would take it in."""
        if not (self.present.padded and any(kind.mixes for kind in self._backend.layers)):
            return
        why = (
            "it runs on from an earlier turn"
            if self.fitting.past
            else self._backend.leak and (f"{self._backend.leak} lets padding into it")
        )
        if why:
            raise UnsupportedUsageError(
                "the samples are left with different lengths, and what fills up the shorter ones would enter the state "
                f"of this model's layers, as {why}: run these samples one by one"
            )

    # -- evidence -----------------------------------------------------------------------------------------------------

    def _show(self, cut: Cut, hidden: Tensor, kwargs: Arguments, read: Read) -> None:
        """Show the cutter what is known as `cut` is reached; what comes from layers that ran it has seen already."""
        for part in cut.evidence.parts:
            if isinstance(part, Features) and part.of != "key":
                inputs = self._inputs if part.of == "image" else None
                features = self.present.features_in(hidden) if inputs is None else self.present.of_given(inputs)
                self.cutter.features(cut, part, features, self.present.tokens)
            elif isinstance(part, Tower):
                seen = self._towers[part.rows].shown(self.present.given)
                self.cutter.shown(cut, part, self.present.shown_of_given(seen))
            elif part.read == "entry":
                self.reading = True
                try:
                    read(hidden, self._arguments(cut.layer, hidden, kwargs))
                finally:
                    self.reading = False

    def sees(
        self, layer: int, query: Tensor, key: Tensor, mask: Tensor | None, scaling: float, softcap: float | None
    ) -> None:
        """Show the cutter the queries and keys of `layer`, if a cut asks for them."""
        tokens = self.present.tokens
        cut, parts = self.cutter.asked(layer, "entry" if self.reading else "ran", tokens)
        tokens = tokens.to(query.device)
        for part in parts:
            assert cut is not None
            if isinstance(part, Features):
                own = key[:, :, key.shape[2] - tokens.columns.shape[1] :]
                self.cutter.features(cut, part, own.transpose(1, 2).flatten(2), tokens)
            elif isinstance(part, Attention):
                rows = AttentionRows.of(
                    part.rows,
                    query,
                    key,
                    scaling,
                    mask,
                    tokens,
                    group=self._backend.group,
                    softcap=softcap,
                    joined=part.heads,
                    share=self._weights(cut, part, query.device),
                )
                self.cutter.attention(cut, part, rows)

    def _weights(self, cut: Cut, part: Attention, device: torch.device) -> Tensor | None:
        """How much the row of each token present counts; None for all alike."""
        if part.weigh is None:
            return None
        assert self._inputs is not None
        weights = self.cutter.weights(cut, part.weigh, self._inputs)
        return self.present.of_given(weights.unsqueeze(2)).squeeze(2).to(device)

    def picture_features(self, visual: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Of the picture features that are added between layers those of the tokens present, and where they go."""
        return self.present.picture_features(visual, features)

    # -- attention ----------------------------------------------------------------------------------------------------

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
        """What the heads read, and their weights where they are at hand; then whoever looks at the layer looks."""
        tokens, weights = self.present.tokens.to(query.device), None
        blocked = self.blocking.skipped.get(layer)
        if blocked:
            parts = self.memo.once((mask, tokens, blocked), partial(self._parts, mask, tokens, blocked))
            output = skip.attend_in_parts(attend, query, key, value, parts, **options)
            self._note_skipped(layer, blocked)
        else:
            output, weights = attend(query, key, value, mask, **options)
        attention = LayerAttention(
            layer, query, key, value, options["scaling"], mask, output, tokens, self._backend.group, softcap
        )
        attention = self.blocking.after(attention)
        watchers = [watch.see for watch in self._watches if layer in watch.layers]
        if self.cutter.decides_on(layer):
            watchers.append(self.cutter.decide)
        for see in watchers:
            see(self.blocking.as_read(attention))
        return attention.output, weights

    def _parts(self, mask: Tensor | None, tokens: Tokens, blocked: frozenset[GroupName]) -> list[skip.Part]:
        if self._backend.kind == "keys":
            return skip.unmasked_parts_of(tokens, blocked)
        return skip.parts_of(mask, tokens, blocked)

    def _note_skipped(self, layer: int, blocked: frozenset[GroupName]) -> None:
        tokens = self.present.tokens
        place = tokens.columns.shape[1] ** 2 - pairs_in_batch(tokens, blocked)
        samples = (
            length**2 - pairs_of_sample(tokens, blocked, sample) for sample, length in enumerate(tokens.lengths())
        )
        self.trace.note_skipped(layer, tuple(samples), place, "image" in blocked)

    # -- the end ------------------------------------------------------------------------------------------------------

    def restore(self, hidden: Tensor) -> Tensor:
        """The decoder's output in the places of the input; zero where tokens are gone."""
        return self.present.restore(hidden)

    def leave(self) -> None:
        """Let the cache know what it holds, and take out of it what the answer is not to read."""
        lost: list[tuple[int, Tensor]] = []
        for part in self.blocking.withheld:
            source = self.blocking.source(part)
            lost += [(layer, self._forget(layer, source)) for layer in part.layers]
        given = self.present.given
        unpadded = self.fitting.past == 0 and given.full
        record = CacheRecord(self.fitting.after, self.fitting.total)
        telling = [self._backend.first, *(layer for layer, _ in lost)]
        record.leave_in(self.cache, self._backend.alone and unpadded, telling)
        for layer, place in lost:
            self.cache.layers[layer].forget(place)

    def _forget(self, layer: int, source: Tensor) -> Tensor:
        """Places of the keys that stay when `layer` lets go of `source`."""
        after = self.fitting.after
        before = after[layer] or prompt(self.present.given)
        place, layout, dropped = self.memo.once((after[layer], source), lambda: before.without(source))
        after[layer] = layout
        self.trace.note_forgotten(layer, dropped, before.index.shape[1] - layout.index.shape[1])
        stays: Tensor = place
        return stays
