"""Which flows are blocked in one prompt, and how: by the mask, by leaving pairs uncomputed, or after the softmax."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from visionflow.core.attention import AttentionRows
from visionflow.core.flows import Block, BlockMode, Withhold
from visionflow.core.layer import LayerAttention, folded, without
from visionflow.core.plan import Plan
from visionflow.core.tokens import GroupName, Selection, Tokens, per_sample
from visionflow.engines.hf import masks
from visionflow.engines.hf.memo import Memo
from visionflow.errors import UnsupportedUsageError

_AFTER_SOFTMAX: dict[BlockMode, Callable[[LayerAttention, AttentionRows, Tensor], Tensor]] = {
    "zero": without,
    "fold": folded,
}


class Blocking:
    """The blocks of `plan` on one prompt of `given` tokens; a prompt without pictures is left alone.

    Attributes:
        skipped: by layer, the groups whose reading of the image is left uncomputed.
        withheld: what the caches are not to hold.
    """

    def __init__(self, plan: Plan, given: Tokens) -> None:
        pictured = any(given.image.counts)
        self._given = given
        self._memo = Memo()
        self._blocks = plan.blocks if pictured else ()
        self.withheld = plan.withheld if pictured else ()
        one: dict[frozenset[GroupName], frozenset[GroupName]] = {}  # layers alike share one, and so what is made of it
        skipped = {layer: frozenset(blocked) for layer, blocked in plan.skipped().items()} if pictured else {}
        self.skipped = {layer: one.setdefault(blocked, blocked) for layer, blocked in skipped.items()}

    def __bool__(self) -> bool:
        return bool(self._blocks or self.withheld)

    def before(self, layer: int, tokens: Tokens, mask: Tensor | None, device: torch.device) -> Tensor | None:
        """The mask that the layer gets."""
        blocks = self._of(layer, "renormalise")
        if not blocks:
            return mask
        tokens = tokens.to(device)
        blocked: Tensor = self._memo.once((mask, tokens, *blocks), lambda: self._blocked(mask, blocks, tokens))
        return blocked

    def after(self, attention: LayerAttention) -> LayerAttention:
        """The attention with the output that it is to have, where flows are altered after the softmax."""
        tokens = attention.tokens
        for mode, without_reads in _AFTER_SOFTMAX.items():
            for block in self._of(attention.layer, mode):
                rows = attention.rows_of(block.target)
                attention = replace(attention, output=without_reads(attention, rows, self.source(block, tokens)))
        return attention

    def as_read(self, attention: LayerAttention) -> LayerAttention:
        """The attention with the mask that tells what was read, where pairs were left uncomputed."""
        blocks = self._of(attention.layer, "skip")
        if not blocks:
            return attention
        return replace(attention, mask=self._blocked(attention.mask, blocks, attention.tokens))

    def source(self, part: Block | Withhold, tokens: Tokens | None = None) -> Tensor:
        """Its keys ``[batch, tokens]``; a sample without a picture is left alone, whatever company it is in."""
        tokens = self._given if tokens is None else tokens
        pictured = per_sample(self._given.image.counts, tokens.valid.device) > 0
        return _members(tokens, part.source) & pictured

    def _of(self, layer: int, mode: BlockMode) -> list[Block]:
        return [block for block in self._blocks if block.mode == mode and layer in block.layers]

    def _blocked(self, mask: Tensor | None, blocks: list[Block], tokens: Tokens) -> Tensor:
        if mask is None:
            mask = masks.causal(tokens.columns, tokens.columns)
        for block in blocks:
            source, target = self.source(block, tokens), _members(tokens, block.target)
            pairs = target[:, None, :, None] & source[:, None, None, :]
            mask = masks.forbid(mask, pairs.to(mask.device))
            left = masks.readable(mask).any(3) | ~target[:, None, :].to(mask.device)
            if not bool(left.all()):
                raise UnsupportedUsageError(
                    f"blocking {_name(block.source)} to {_name(block.target)} leaves a token with nothing to read: "
                    "put a system prompt (at least a beginning-of-sequence token) before the picture"
                )
        return mask


def _members(tokens: Tokens, selection: Selection) -> Tensor:
    """Bool ``[batch, tokens]``."""
    return selection(tokens) if callable(selection) else tokens.group(selection).mask


def _name(selection: Selection) -> str:
    return selection if isinstance(selection, str) else "the chosen tokens"
