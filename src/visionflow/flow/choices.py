"""What a method went by: the scores of the image tokens at each cut, noted as its plan is carried out."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from visionflow.core.adaptive import AdaptiveCuts, Decider, Decision
from visionflow.core.evidence import Shown
from visionflow.core.layer import LayerAttention
from visionflow.core.plan import Plan
from visionflow.core.selection import Chosen, Select
from visionflow.core.tokens import Tokens


class Choice(NamedTuple):
    """What one cut decided on, of the first sample.

    Attributes:
        layer: the first layer that saw the shorter sequence.
        columns: int64 ``[image_tokens]``, columns of the image tokens that were present.
        scores: ``[image_tokens]``, fp32 (fp64 of an fp64 model); None where the choice was made without any.
    """

    layer: int
    columns: Tensor
    scores: Tensor | None


def noted(plan: Plan, note: Callable[[Choice], None]) -> Plan:
    """The same plan, which calls `note` at each of its cuts: it chooses as before, and does not travel."""
    cuts = tuple(replace(cut, select=_NotedSelect(cut.select, cut.layer, note)) for cut in plan.cuts)
    return replace(plan, cuts=cuts, adaptive=plan.adaptive and _NotedCuts(plan.adaptive, note))


@dataclass(frozen=True)
class _NotedSelect(Select):
    select: Select
    layer: int
    note: Callable[[Choice], None]

    def __call__(self, shown: Shown, tokens: Tokens, counts: tuple[int, ...]) -> Chosen:
        self.note(_choice(self.layer, tokens, shown.scores))
        return self.select(shown, tokens, counts)

    def pairs(self, n: int, kept: int, text: int) -> int:
        return self.select.pairs(n, kept, text)

    @property
    def needs(self) -> Any:  # type: ignore[override]
        return self.select.needs

    @property
    def merges(self) -> bool:  # type: ignore[override]
        return self.select.merges


@dataclass(frozen=True)
class _NotedCuts(AdaptiveCuts):
    cuts: AdaptiveCuts
    note: Callable[[Choice], None]

    @property
    def named_layers(self) -> dict[str, int]:
        return self.cuts.named_layers

    @property
    def depth(self) -> int | None:
        return self.cuts.depth

    def start(self, tokens: Tokens) -> Decider:
        return _NotedDecider(self.cuts.start(tokens), self.note)


class _NotedDecider:
    def __init__(self, decider: Decider, note: Callable[[Choice], None]) -> None:
        self._decider, self._note = decider, note

    @property
    def done(self) -> bool:
        return self._decider.done

    def decide(self, attention: LayerAttention) -> Decision:
        decision = self._decider.decide(attention)
        if decision.counts != attention.tokens.image.counts:
            self._note(_choice(attention.layer + 1, attention.tokens, decision.scores))
        return decision

    def tell(self, sample: int) -> dict[str, Any]:
        return self._decider.tell(sample)


def _choice(layer: int, tokens: Tokens, scores: Tensor | None) -> Choice:
    image = tokens.image.mask[0]
    of_image = None if scores is None else scores[0][image.to(scores.device)].detach().cpu()
    return Choice(layer, tokens.columns[0][image].cpu(), of_image)


def ranks(scores: Tensor) -> Tensor:
    """The place of each score from the highest, counted from 1, int64; ties go to the first, as in `Top`."""
    order = scores.float().argsort(descending=True, stable=True)
    return torch.empty_like(order).scatter_(0, order, torch.arange(1, len(order) + 1))
