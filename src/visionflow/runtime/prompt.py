"""The forward pass of a prompt: where tokens are dropped, on evidence from the layer before, and flows are blocked."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from visionflow.errors import UnsupportedUsageError
from visionflow.runtime import masks
from visionflow.runtime.attention import AttentionRows
from visionflow.runtime.forward import Forward
from visionflow.runtime.held import CacheRecord, Held, append, everything
from visionflow.runtime.layer import LayerAttention, without
from visionflow.runtime.plan import Block, BlockMode, Cut, Plan, Selection, Withhold
from visionflow.runtime.tokens import Tokens, best, pack
from visionflow.runtime.trace import Stage, Trace


class PromptForward(Forward):
    """The state of one pass over a prompt, from the merger's call to its return.

    Attributes:
        tokens: the tokens present at the layer that runs now.
        rows: int64 ``[batch, present]``, their places among the tokens that came in; None while nothing is dropped.
    """

    def __init__(self, plan: Plan, tokens: Tokens, record: CacheRecord, trace: Trace) -> None:
        super().__init__(record, tokens.columns.shape[1])
        self.tokens = tokens
        self.rows: Tensor | None = None
        self._length = tokens.columns.shape[1]
        self._after: list[Held | None] = list(record.held)
        self._cuts = {cut.layer: cut for cut in plan.cuts}
        self._blocks = plan.blocks if any(tokens.image.counts) else ()
        self._withheld = plan.withheld if any(tokens.image.counts) else ()
        self._watches = plan.watches
        self._given = tokens
        self._scores: dict[int, Tensor] = {}
        self._trace = trace
        self._check(plan)

    def _check(self, plan: Plan) -> None:
        counts = zip(self.tokens.image.counts, self.tokens.instruction.counts, strict=True)
        for sample, (image, instruction) in enumerate(counts):
            if image and not instruction and plan.cuts:
                raise UnsupportedUsageError(
                    f"no text follows the picture in sample {sample}: put the question after the image token, "
                    "and give the prompt in one piece (no chunked prefill)"
                )
        if (self._blocks or self._withheld) and self._past:
            raise UnsupportedUsageError("blocks need the prompt in one piece: start with an empty KV cache")

    def enter(self, layer: int, hidden: Tensor, kwargs: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """The hidden states and arguments that decoder layer `layer` gets instead of its own."""
        cut = self._cuts.get(layer)
        if cut is not None:
            hidden = self._drop(cut, hidden)
        self._trace.count(layer, self.tokens)
        if self.rows is None:
            hidden, kwargs = super().enter(layer, hidden, kwargs)
        else:
            kwargs = self._shortened(layer, kwargs, self.rows)
        blocks = self._blocks_of(layer, "renormalise")
        if blocks:
            mask = self._blocked(kwargs.get("attention_mask"), blocks, hidden.device)
            kwargs = {**kwargs, "attention_mask": mask}
        return hidden, kwargs

    # -- drop ---------------------------------------------------------------------------------------------------------

    def _drop(self, cut: Cut, hidden: Tensor) -> Tensor:
        tokens = self.tokens.to(hidden.device)
        if not self._idle(cut):
            keep, counts = self._choose(cut, tokens)
            gone = (n - kept for n, kept in zip(tokens.image.counts, counts, strict=True))
            width = max(length - fewer for length, fewer in zip(tokens.lengths(), gone, strict=True))
            index, real = pack(tokens.valid & (keep | ~tokens.image.mask), width)
            hidden = hidden.gather(1, index.unsqueeze(2).expand(-1, -1, hidden.shape[2]))
            self.tokens = tokens.take(index, real, counts)
            self.rows = index if self.rows is None else self.rows.to(index.device).gather(1, index)
        self._trace.stages.append(Stage(cut.layer, self.tokens))
        return hidden

    def _idle(self, cut: Cut) -> bool:
        """Whether `cut` is known to drop nothing of this prompt."""
        return all(n == 0 or (cut.count is not None and cut.count(n) == n) for n in self.tokens.image.counts)

    def _choose(self, cut: Cut, tokens: Tokens) -> tuple[Tensor, tuple[int, ...]]:
        """Which image tokens stay at `cut`, bool ``[batch, present]``, and how many of each sample."""
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
            return cut.score(tokens)
        return torch.zeros(tokens.columns.shape, device=tokens.columns.device)

    def restore(self, hidden: Tensor) -> Tensor:
        """The decoder's output ``[batch, present, width]`` in the places of the input; zero where tokens are gone."""
        if self.rows is None:
            return hidden
        hidden = hidden.masked_fill(~self.tokens.valid.to(hidden.device).unsqueeze(2), 0.0)
        full = hidden.new_zeros(hidden.shape[0], self._length, hidden.shape[2])
        return full.scatter(1, self.rows.to(hidden.device).unsqueeze(2).expand_as(hidden), hidden)

    # -- probe --------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def probe(self, layer: int, query: Tensor, key: Tensor, scaling: float, mask: Tensor | None) -> None:
        """Look at the attention of `layer` if the cut after it asks for that."""
        cut = self._cuts.get(layer + 1)
        if cut is None or cut.probe is None or self._idle(cut):
            return
        tokens = self.tokens.to(query.device)
        index, real = tokens.group(cut.probe.rows).index()
        self._scores[cut.layer] = cut.probe.reduce(AttentionRows(query, key, scaling, mask, index, real, tokens))
        self._trace.probes.append((layer, index.shape[1]))

    # -- what the layers after a cut get ------------------------------------------------------------------------------

    def _shortened(self, layer: int, kwargs: dict[str, Any], rows: Tensor) -> dict[str, Any]:
        held = self._hold(layer)
        given = kwargs.get("attention_mask")
        mask = self._once((given, rows, held), lambda: self._mask(given, rows, held))
        positions = {name: self._of_rows(kwargs.get(name), rows) for name in ("position_embeddings", "position_ids")}
        return {**kwargs, "attention_mask": mask, **positions}

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

    def _of_rows(self, value: Any, rows: Tensor) -> Any:
        if isinstance(value, tuple):
            return tuple(self._of_rows(part, rows) for part in value)
        return None if value is None else self._once((value, rows), lambda: _gather_sequence(value, rows))

    def _mask(self, mask: Tensor | None, rows: Tensor, held: Held) -> Tensor | None:
        mask = self._fit(masks.take_rows(mask, rows.to(mask.device)) if mask is not None else None, held)
        return self._fillers_read_themselves(mask) if mask is not None and self._fillers() else mask

    def _columns(self, like: Tensor) -> Tensor:
        return self.tokens.columns.to(like.device)

    def _fillers_read_themselves(self, mask: Tensor) -> Tensor:
        """A row without any key has no softmax: a filler reads itself, and nobody reads the filler."""
        own = torch.eye(mask.shape[2], device=mask.device, dtype=torch.bool)
        own = torch.nn.functional.pad(own, (mask.shape[3] - mask.shape[2], 0))
        return masks.allow(mask, own & ~self.tokens.valid.to(mask.device)[:, None, :, None])

    def record(self) -> CacheRecord:
        """What the caches hold after this pass, and what of it the answer may read."""
        for withheld in self._withheld:
            hidden = self._source(withheld, self._given)
            for layer in withheld.layers:
                held = self._after[layer] or everything(self._total, len(hidden), hidden.device)
                self._after[layer] = held.hide(hidden)
        return CacheRecord(self._after, self._total)

    # -- block and watch ----------------------------------------------------------------------------------------------

    def _blocks_of(self, layer: int, mode: BlockMode) -> list[Block]:
        return [block for block in self._blocks if layer in block.layers and block.mode == mode]

    def _blocked(self, mask: Tensor | None, blocks: list[Block], device: torch.device) -> Tensor:
        tokens = self.tokens.to(device)
        if mask is None:
            mask = masks.causal(tokens.columns, tokens.columns)
        for block in blocks:
            source, target = self._source(block, tokens), _members(tokens, block.target)
            pairs = target[:, None, :, None] & source[:, None, None, :]
            mask = masks.forbid(mask, pairs.to(mask.device))
            left = masks.readable(mask).any(3) | ~target[:, None, :].to(mask.device)
            if not bool(left.all()):
                raise UnsupportedUsageError(
                    f"blocking {_name(block.source)} to {_name(block.target)} leaves a token with nothing to read: "
                    "put a system prompt (at least a beginning-of-sequence token) before the picture"
                )
        return mask

    def _source(self, part: Block | Withhold, tokens: Tokens) -> Tensor:
        """Its keys ``[batch, tokens]``; a sample without a picture is left alone, whatever company it is in."""
        pictured = torch.tensor([count > 0 for count in self._given.image.counts], device=tokens.valid.device)
        return _members(tokens, part.source) & pictured.unsqueeze(1)

    def attended(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, mask: Tensor | None, output: Tensor
    ) -> Tensor:
        """The output that attention is to have, without what it read of zeroed flows; shown to those who watch."""
        tokens = self.tokens.to(query.device)
        attention = LayerAttention(layer, query, key, value, scaling, mask, output, tokens)
        for block in self._blocks_of(layer, "zero"):
            rows = attention.rows(_members(tokens, block.target))
            attention = replace(attention, output=without(attention, rows, self._source(block, tokens)))
        for watch in self._watches:
            if layer in watch.layers:
                watch.look(attention)
        return attention.output


def _members(tokens: Tokens, selection: Selection) -> Tensor:
    """Bool ``[batch, tokens]``."""
    return selection(tokens) if callable(selection) else tokens.group(selection).mask


def _name(selection: Selection) -> str:
    return selection if isinstance(selection, str) else "the chosen tokens"


def _gather_sequence(value: Tensor, rows: Tensor) -> Tensor:
    """Entries `rows` ``[batch, present]`` of ``[batch or 1, tokens, ...]`` along the sequence."""
    value = value.expand(rows.shape[0], *value.shape[1:])
    index = rows.to(value.device).view(*rows.shape, *[1] * (value.dim() - 2))
    return value.gather(1, index.expand(-1, -1, *value.shape[2:]))
