"""The forward pass of a prompt: where tokens are dropped, on evidence from the layer before, and flows are blocked."""

from typing import Any

import torch
from torch import Tensor

from visionflow.core.attention import AttentionRows, out_of_autocast
from visionflow.core.layer import LayerAttention
from visionflow.core.plan import Cut, Plan
from visionflow.core.readings import pairs_in_batch, pairs_of_sample
from visionflow.core.tokens import GroupName, Tokens, best, pack
from visionflow.core.trace import Stage, Trace
from visionflow.core.work import Look
from visionflow.engines.hf import masks, skip
from visionflow.engines.hf.backend import Backend
from visionflow.engines.hf.blocking import Blocking
from visionflow.engines.hf.caches import CacheRecord
from visionflow.engines.hf.family import Family
from visionflow.engines.hf.forward import Forward
from visionflow.engines.hf.held import Held, append, prompt
from visionflow.engines.hf.skip import Attend
from visionflow.errors import UnsupportedUsageError


class PromptForward(Forward):
    """The state of one pass over a prompt, from the merger's call to its return.

    Attributes:
        tokens: the tokens present at the layer that runs now.
        rows: int64 ``[batch, present]``, their places among the tokens that came in; None while nothing is dropped.
        trace: what was done, of this pass alone: others may run at the same time.
        pictured: some sample has image tokens.
    """

    def __init__(
        self, plan: Plan, family: Family, tokens: Tokens, record: CacheRecord, trace: Trace, backend: Backend
    ) -> None:
        super().__init__(record, tokens.columns.shape[1], backend)
        self.leaves_alone = False
        self._family = family
        self.tokens = tokens
        self.rows: Tensor | None = None
        self._length = tokens.columns.shape[1]
        self._after: list[Held | None] = list(record.held)
        self._cuts = {cut.layer: cut for cut in plan.cuts}
        self._given = tokens
        self._blocking = Blocking(plan, tokens)
        self._watches = plan.watches
        self._adaptive = plan.adaptive
        self._decider = self._adaptive.start(tokens) if self._adaptive else None
        self._decided: dict[int, tuple[Tensor, tuple[int, ...]]] = {}
        self._scores: dict[int, Tensor] = {}
        self.trace = trace
        self.pictured = any(tokens.image.counts)
        if self._decider is not None:
            trace.decisions.append(self._decider)
        self._check(plan)

    def _check(self, plan: Plan) -> None:
        counts = zip(self.tokens.image.counts, self.tokens.instruction.counts, strict=True)
        for sample, (image, instruction) in enumerate(counts):
            if image and not instruction and (plan.cuts or plan.adaptive):
                raise UnsupportedUsageError(
                    f"no text follows the picture in sample {sample}: put the question, or text that many questions "
                    "share, after the image token, and give both in one piece (no chunked prefill)"
                )
        if self._blocking and self._past:
            raise UnsupportedUsageError(
                f"blocks need the prompt in one piece: start with an empty KV cache, or {plan.way_out}"
            )

    def enter(self, layer: int, hidden: Tensor, kwargs: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """The hidden states and arguments that decoder layer `layer` gets instead of its own."""
        cut, decided = self._cuts.get(layer), self._decided.pop(layer, None)
        if cut is not None:
            hidden = hidden if self._idle(cut) else self._drop(hidden, *self._choose(cut))
            self.trace.stages.append(Stage(layer, self.tokens, self._given))
        elif decided is not None:
            hidden = self._drop(hidden, *decided)
            self.trace.stages.append(Stage(layer, self.tokens, self._given))
        self.trace.count(layer, self.tokens)
        if self.rows is None:
            hidden, kwargs = super().enter(layer, hidden, kwargs)
        else:
            kwargs = self._shortened(layer, kwargs, self.rows, hidden.shape[self._family.token_axis])
        mask = self._blocking.before(layer, self.tokens, kwargs.get("attention_mask"), hidden.device)
        return hidden, {**kwargs, "attention_mask": mask}

    # -- drop ---------------------------------------------------------------------------------------------------------

    def _drop(self, hidden: Tensor, keep: Tensor, counts: tuple[int, ...]) -> Tensor:
        """The hidden states of the tokens that stay: the text, and the image tokens `keep`, `counts` of each sample."""
        tokens = self.tokens.to(hidden.device)
        gone = (n - kept for n, kept in zip(tokens.image.counts, counts, strict=True))
        width = max(length - fewer for length, fewer in zip(tokens.lengths(), gone, strict=True))
        index, real = pack(tokens.valid & (keep.to(hidden.device) | ~tokens.image.mask), width)
        self.tokens = tokens.take(index, real, counts)
        self.rows = index if self.rows is None else self.rows.to(index.device).gather(1, index)
        return _take(hidden, index, self._family.token_axis)

    def _idle(self, cut: Cut) -> bool:
        """Whether `cut` is known to drop nothing of this prompt."""
        return not any(self._cuts_sample(cut, n) for n in self.tokens.image.counts)

    def _cuts_sample(self, cut: Cut, image_tokens: int) -> bool:
        return image_tokens > 0 and (cut.count is None or cut.count(image_tokens) != image_tokens)

    def _choose(self, cut: Cut) -> tuple[Tensor, tuple[int, ...]]:
        """Which image tokens stay at `cut`, bool ``[batch, present]``, and how many of each sample."""
        tokens = self.tokens
        scores = self._score(cut, tokens)
        if cut.count is None:
            keep = (scores > 0) & tokens.image.mask
            return keep, tuple(keep.sum(1).tolist())
        counts = tuple(cut.count(n) for n in tokens.image.counts)
        if any(not 0 <= kept <= n for kept, n in zip(counts, tokens.image.counts, strict=True)):
            raise UnsupportedUsageError(
                f"the cut before layer {cut.layer} is to keep {list(counts)} of {list(tokens.image.counts)} image "
                "tokens: its count(n) must lie between 0 and n"
            )
        return best(scores, tokens.image, counts), counts

    def _score(self, cut: Cut, tokens: Tokens) -> Tensor:
        if cut.probe is not None:
            return self._scores.pop(cut.layer).to(tokens.columns.device)
        if cut.score is not None:
            with out_of_autocast(tokens.columns.device):
                return cut.score(tokens)
        return torch.zeros(tokens.columns.shape, device=tokens.columns.device)

    def restore(self, hidden: Tensor) -> Tensor:
        """The decoder's output ``[batch, present, width]`` in the places of the input; zero where tokens are gone."""
        if self.rows is None or hidden.shape[1] != self.rows.shape[1]:  # the last rows only are all there
            return hidden
        hidden = hidden.masked_fill(~self.tokens.valid.to(hidden.device).unsqueeze(2), 0.0)
        full = hidden.new_zeros(hidden.shape[0], self._length, hidden.shape[2])
        return full.scatter(1, self.rows.to(hidden.device).unsqueeze(2).expand_as(hidden), hidden)

    # -- probe --------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def probe(
        self, layer: int, query: Tensor, key: Tensor, mask: Tensor | None, scaling: float, softcap: float | None
    ) -> None:
        """Look at the attention of `layer` if the cut after it asks for that."""
        cut = self._cuts.get(layer + 1)
        if cut is None or cut.probe is None or self._idle(cut):
            return
        tokens = self.tokens.to(query.device)
        group = tokens.group(cut.probe.rows)
        index, real = group.index()
        rows = AttentionRows(query, key, scaling, mask, index, real, tokens, self._backend.group, softcap)
        with out_of_autocast(query.device):
            self._scores[cut.layer] = cut.probe.reduce(rows)
        alone = (self._cuts_sample(cut, n) * rows for n, rows in zip(tokens.image.counts, group.counts, strict=True))
        self.trace.note_look(Look(layer, index.shape[1]), tuple(alone))

    def _decides_on(self, layer: int) -> bool:
        open_ = self._decider is not None and not self._decider.done
        return open_ and self._adaptive is not None and self._adaptive.first <= layer < len(self._after) - 1

    @torch.no_grad()
    def _decide(self, attention: LayerAttention) -> None:
        """Let the decider of this prompt look at a layer that has just run."""
        assert self._decider is not None
        with out_of_autocast(attention.query.device):
            decision = self._decider.decide(attention)
        for look, rows in decision.looks:
            self.trace.note_look(look, rows)
        if decision.counts != self.tokens.image.counts:
            keep = best(decision.scores, attention.tokens.image, decision.counts)
            self._decided[attention.layer + 1] = keep, decision.counts

    # -- attention ----------------------------------------------------------------------------------------------------

    def attend(
        self, layer: int, attend: Attend, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None,
        softcap: float | None, **options: Any,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """What the heads read, and their weights where they are at hand; then whoever looks at the layer looks."""
        tokens, weights = self.tokens.to(query.device), None
        blind = self._blocking.skipped.get(layer)
        if blind:
            parts = self._once((mask, tokens, blind), lambda: skip.parts_of(mask, tokens, blind))
            output = skip.attend_in_parts(attend, query, key, value, parts, **options)
            self._note_skipped(layer, blind)
        else:
            output, weights = attend(query, key, value, mask, **options)
        attention = LayerAttention(
            layer, query, key, value, options["scaling"], mask, output, tokens, self._backend.group, softcap
        )
        attention = self._blocking.after(attention)
        looks = [watch.look for watch in self._watches if layer in watch.layers]
        if self._decides_on(layer):
            looks.append(self._decide)
        for look in looks:
            look(self._blocking.as_read(attention))
        return attention.output, weights

    def _note_skipped(self, layer: int, blind: frozenset[GroupName]) -> None:
        place = self.tokens.columns.shape[1] ** 2 - pairs_in_batch(self.tokens, blind)
        samples = (
            length**2 - pairs_of_sample(self.tokens, blind, sample)
            for sample, length in enumerate(self.tokens.lengths())
        )
        self.trace.note_skipped(layer, tuple(samples), place, "image" in blind)

    # -- what the layers after a cut get ------------------------------------------------------------------------------

    def _shortened(self, layer: int, kwargs: dict[str, Any], rows: Tensor, running: int) -> dict[str, Any]:
        """The arguments of a layer that runs the tokens present, or only the last `running` of them."""
        held = self._hold(layer)
        given = kwargs.get("attention_mask")
        if running < rows.shape[1]:  # Gemma 4 in generate: what came with these rows is cut already, but for the keys
            return {**kwargs, "attention_mask": self._once((given, held), lambda: self._fit(given, held))}
        mask = self._once((given, rows, held), lambda: self._mask(given, rows, held))
        taken = {name: self._of_rows(kwargs.get(name), rows, axis) for name, axis in self._token_axes.items()}
        return {**kwargs, "attention_mask": mask, **{name: value for name, value in taken.items() if value is not None}}

    @property
    def _token_axes(self) -> dict[str, int]:
        """Arguments of a layer that go with its tokens, and the axis of these; the batch is the axis before."""
        return {"position_embeddings": -2, "position_ids": -1} | dict.fromkeys(self._family.token_inputs, 1)

    def present_features(self, visual: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Of the picture features that are added between layers those of the tokens present, and where they go.

        Args:
            visual: bool ``[batch, tokens]``, image tokens among all that came in.
            features: ``[image tokens, width]``.
        """
        if self.rows is None:
            return visual, features
        rows, valid = self.rows.to(visual.device), self.tokens.valid.to(visual.device)
        present = torch.zeros_like(visual).scatter(1, rows, valid)
        return visual.gather(1, rows) & valid, features[present[visual].to(features.device)]

    def _hold(self, layer: int) -> Held:
        before, tokens = self._before[layer], self.tokens
        held: Held = self._once(
            (before, tokens),
            lambda: append(before, self._past, tokens.columns, tokens.valid, not self._fillers(), self._total),
        )
        self._after[layer] = held
        return held

    def _fillers(self) -> bool:
        """Whether some samples are shorter than others by now."""
        return set(self.tokens.lengths()) != {self.tokens.columns.shape[1]}

    def _of_rows(self, value: Any, rows: Tensor, axis: int) -> Any:
        if isinstance(value, tuple):
            return tuple(self._of_rows(part, rows, axis) for part in value)
        return None if value is None else self._once((value, rows), lambda: _take(value, rows, axis))

    def _mask(self, mask: Tensor | None, rows: Tensor, held: Held) -> Tensor | None:
        mask = self._fit(masks.take_rows(mask, rows.to(mask.device)) if mask is not None else None, held)
        if self._backend.kind == "keys":
            # Without a mask flash attention takes position ids with gaps for packed sequences, which have no past.
            return held.real if mask is None else mask
        return self._fillers_read_themselves(mask) if mask is not None and self._fillers() else mask

    def _columns(self, like: Tensor) -> Tensor:
        return self.tokens.columns.to(like.device)

    def _fillers_read_themselves(self, mask: Tensor) -> Tensor:
        """A row without any key has no softmax: a filler reads itself, and nobody reads the filler."""
        own = torch.eye(mask.shape[2], device=mask.device, dtype=torch.bool)
        own = torch.nn.functional.pad(own, (mask.shape[3] - mask.shape[2], 0))
        return masks.allow(mask, own & ~self.tokens.valid.to(mask.device)[:, None, :, None])

    def leave(self, cache: Any) -> None:
        """Let the cache know what it holds, and take out of it what the answer is not to read."""
        lost: list[tuple[int, Tensor]] = []
        for part in self._blocking.withheld:
            source = self._blocking.source(part)
            lost += [(layer, self._forget(layer, source)) for layer in part.layers]
        unpadded = self._past == 0 and set(self._given.lengths()) == {self._length}
        CacheRecord(self._after, self._total).leave_in(cache, self._backend.alone and unpadded)
        for layer, place in lost:
            cache.layers[layer].forget(place)

    def _forget(self, layer: int, source: Tensor) -> Tensor:
        """Places of the keys that stay when `layer` lets go of `source`."""
        before = self._after[layer] or prompt(self._given)
        place, held, gone = self._once((self._after[layer], source), lambda: before.without(source))
        self._after[layer] = held
        self.trace.note_forgotten(layer, gone, before.index.shape[1] - held.index.shape[1])
        stays: Tensor = place
        return stays


def _take(value: Tensor, rows: Tensor, axis: int) -> Tensor:
    """Entries `rows` ``[batch, present]`` along `axis`; the axis before it is the batch, or 1 for all samples."""
    axis = axis % value.dim()
    shape = list(value.shape)
    shape[axis - 1 : axis + 1] = rows.shape
    index = rows.to(value.device).view(*[1] * (axis - 1), *rows.shape, *[1] * (value.dim() - axis - 1))
    expanded = value.expand(*shape[:axis], *value.shape[axis:])
    return expanded.gather(axis, index.expand(shape))
