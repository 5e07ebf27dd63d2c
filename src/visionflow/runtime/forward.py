"""One forward pass under a plan: which tokens are present, what each layer gets, what the caches will hold."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from visionflow.errors import UnsupportedUsageError
from visionflow.runtime import masks
from visionflow.runtime.attention import AttentionRows
from visionflow.runtime.held import CacheRecord, Held, append
from visionflow.runtime.plan import Block, Cut, Plan
from visionflow.runtime.tokens import Tokens, best, pack
from visionflow.runtime.trace import Stage, Trace


class Forward:
    """The state of one forward pass, from the merger's call to its return.

    A pass with a trace is a prompt (or a later turn with pictures): it is where cuts happen. Without one it is
    decoding: all that is left to do is to fit the masks to what each layer's cache holds.

    Attributes:
        tokens: the tokens present at the layer that runs now.
        rows: int64 ``[batch, present]``, their places among the tokens that came in; None while nothing is dropped.
    """

    def __init__(self, plan: Plan, tokens: Tokens, record: CacheRecord, trace: Trace | None) -> None:
        self.tokens = tokens
        self.rows: Tensor | None = None
        self._incoming = tokens
        self._record = record
        self._trace = trace
        self._past = record.total
        self._total = record.total + tokens.columns.shape[1]
        prompt = any(tokens.image.counts)
        self._cuts = {cut.layer: cut for cut in plan.cuts} if trace is not None else {}
        self._blocks = plan.blocks if prompt else ()
        self._held = list(record.held)
        self._scores: dict[int, Tensor] = {}
        self._made: dict[tuple[int, ...], tuple[object, Any]] = {}
        if prompt:
            self._check_prompt(plan)

    def _check_prompt(self, plan: Plan) -> None:
        counts = zip(self.tokens.image.counts, self.tokens.instruction.counts, strict=True)
        for sample, (image, instruction) in enumerate(counts):
            if image and not instruction and plan.cuts:
                raise UnsupportedUsageError(
                    f"no text follows the picture in sample {sample}: put the question after the image token, "
                    "and give the prompt in one piece (no chunked prefill)"
                )
        if plan.blocks and self._past:
            raise UnsupportedUsageError("blocks need the prompt in one piece: start with an empty KV cache")

    # -- drop ---------------------------------------------------------------------------------------------------------

    def kept_counts(self, cut: Cut) -> tuple[int, ...]:
        """Image tokens of each sample that stay at `cut`."""
        return tuple(cut.count(n) for n in self.tokens.image.counts)

    def enter(self, layer: int, hidden: Tensor, kwargs: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """The hidden states and arguments that decoder layer `layer` gets instead of its own."""
        cut = self._cuts.get(layer)
        if cut is not None:
            hidden = self._drop(cut, hidden)
        if self._trace is not None:
            self._trace.count(layer, self.tokens)
        held = self._hold(layer)
        blocks = [block for block in self._blocks if layer in block.layers]
        if self.rows is None and held is None and not blocks:
            return hidden, kwargs
        kwargs = dict(kwargs)
        kwargs["attention_mask"] = self._mask(kwargs.get("attention_mask"), held, blocks, hidden.device)
        if self.rows is not None:
            for name in ("position_embeddings", "position_ids"):
                kwargs[name] = self._positions(kwargs.get(name), name)
        return hidden, kwargs

    def _drop(self, cut: Cut, hidden: Tensor) -> Tensor:
        tokens = self.tokens.to(hidden.device)
        counts = self.kept_counts(cut)
        if counts != tokens.image.counts:
            keep = best(self._score(cut, tokens), tokens.image, counts)
            gone = (n - kept for n, kept in zip(tokens.image.counts, counts, strict=True))
            width = max(length - fewer for length, fewer in zip(tokens.lengths(), gone, strict=True))
            index, real = pack(tokens.valid & (keep | ~tokens.image.mask), width)
            hidden = hidden.gather(1, index.unsqueeze(2).expand(-1, -1, hidden.shape[2]))
            self.tokens = tokens.take(index, real, counts)
            self.rows = index if self.rows is None else self.rows.to(index.device).gather(1, index)
        if self._trace is not None:
            self._trace.stages.append(Stage(cut.layer, self.tokens))
        return hidden

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
        full = hidden.new_zeros(hidden.shape[0], self._incoming.columns.shape[1], hidden.shape[2])
        return full.scatter(1, self.rows.to(hidden.device).unsqueeze(2).expand_as(hidden), hidden)

    # -- probe --------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def probe(self, layer: int, query: Tensor, key: Tensor, scaling: float, mask: Tensor | None) -> None:
        """Look at the attention of `layer` if the cut after it asks for that."""
        cut = self._cuts.get(layer + 1)
        if cut is None or cut.probe is None or self.kept_counts(cut) == self.tokens.image.counts:
            return
        tokens = self.tokens.to(query.device)
        index, real = tokens.group(cut.probe.rows).index()
        self._scores[cut.layer] = cut.probe.reduce(AttentionRows(query, key, scaling, mask, index, real, tokens))
        if self._trace is not None:
            self._trace.probes.append((layer, index.shape[1]))

    # -- what the layers get ------------------------------------------------------------------------------------------

    def _hold(self, layer: int) -> Held | None:
        before = self._record.held[layer]
        if self.rows is None:
            return before
        tokens = self.tokens
        full = set(tokens.lengths()) == {tokens.columns.shape[1]}
        held: Held = self._once(
            (before, tokens),
            lambda: append(before, self._past, tokens.columns, tokens.valid, full, self._total),
        )
        self._held[layer] = held
        return held

    def _positions(self, value: Any, name: str) -> Any:
        rows = self.rows
        assert rows is not None
        if value is None:
            return None
        if isinstance(value, tuple):
            return tuple(self._positions(part, name) for part in value)
        return self._once((value, rows), lambda: _gather_sequence(value, rows, dim=1))

    def _mask(self, given: Tensor | None, held: Held | None, blocks: list[Block], device: torch.device) -> Any:
        mask = self._once((given, self.rows, held), lambda: self._shorter(given, held))
        if blocks:
            mask = self._blocked(mask, blocks, device)
        return mask

    def _shorter(self, mask: Tensor | None, held: Held | None) -> Tensor | None:
        rows, tokens = self.rows, self.tokens
        fillers = rows is not None and set(tokens.lengths()) != {tokens.columns.shape[1]}
        held = held.until(self._total) if held is not None else None
        if mask is None and (held is None or held.full):
            return None  # causal over what is left, in its order
        if mask is None:
            assert held is not None
            mask = masks.causal(tokens.columns, held.index)
        else:
            if rows is not None:
                mask = masks.take_rows(mask, rows.to(mask.device))
            if held is not None:
                mask = masks.take_columns(mask, held.index.to(mask.device))
        if held is not None and not held.full:
            mask = masks.forbid(mask, ~held.real.to(mask.device)[:, None, None, :])
        if fillers:  # a row without any key has no softmax: a filler reads itself, nobody reads the filler
            own = torch.eye(mask.shape[2], device=mask.device, dtype=torch.bool)
            own = torch.nn.functional.pad(own, (mask.shape[3] - mask.shape[2], 0))
            mask = masks.allow(mask, own & ~tokens.valid.to(mask.device)[:, None, :, None])
        return mask

    # -- block --------------------------------------------------------------------------------------------------------

    def _blocked(self, mask: Tensor | None, blocks: list[Block], device: torch.device) -> Tensor:
        tokens = self.tokens.to(device)
        if mask is None:
            mask = masks.causal(tokens.columns, tokens.columns)
        for block in blocks:
            source, target = tokens.group(block.source).mask, tokens.group(block.target).mask
            pairs = target[:, None, :, None] & source[:, None, None, :]
            mask = masks.forbid(mask, pairs.to(mask.device))
            left = masks.readable(mask).any(3) | ~target[:, None, :].to(mask.device)
            if not bool(left.all()):
                raise UnsupportedUsageError(
                    f"blocking {block.source} to {block.target} leaves a token with nothing to read: "
                    "put a system prompt (at least a beginning-of-sequence token) before the picture"
                )
        return mask

    # -- bookkeeping --------------------------------------------------------------------------------------------------

    def record(self) -> CacheRecord:
        """What the caches hold after this pass."""
        return CacheRecord(self._held, self._total)

    def _once(self, parts: tuple[object, ...], make: Callable[[], Any]) -> Any:
        """`make()`, once for the same `parts`: layers between two cuts share their masks and positions."""
        key = tuple(id(part) for part in parts)
        if key not in self._made:
            self._made[key] = (parts, make())  # the parts are kept alive, so that their ids stay theirs
        return self._made[key][1]


def _gather_sequence(value: Tensor, rows: Tensor, dim: int) -> Tensor:
    """Entries `rows` ``[batch, present]`` along the sequence dimension of ``[batch or 1, tokens, ...]``."""
    value = value.expand(rows.shape[0], *value.shape[1:])
    index = rows.to(value.device).view(*rows.shape, *[1] * (value.dim() - 2))
    return value.gather(dim, index.expand(-1, -1, *value.shape[2:]))
