"""Which image tokens stay, given the evidence and how many: pure functions, by name."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from visionflow.core.evidence import Shown, unit_features
from visionflow.core.forms import Form
from visionflow.core.tokens import Group, Tokens


@dataclass(frozen=True)
class Chosen:
    """The image tokens that stay, and what becomes of the others.

    Attributes:
        keep: bool ``[batch, tokens]``.
        into: int64 ``[batch, tokens]``, the place of the kept token that each is merged into, its own where it is not;
            None where the others are dropped.
    """

    keep: Tensor
    into: Tensor | None = None


_SAME = 1 - 1e-6  # cosines above are 1 but for rounding: tokens that are equal tie


class Select(Form, ABC):
    """A pure choice: it reads nothing from the device, so that lengths are known on the host."""

    needs: ClassVar[tuple[Literal["scores", "features"], ...]] = ("scores",)
    """What the evidence has to show."""
    merges: ClassVar[bool] = False
    """Dropped tokens are merged into kept ones."""

    @abstractmethod
    def __call__(self, shown: Shown, tokens: Tokens, counts: tuple[int, ...]) -> Chosen:
        """Keep `counts` of each sample's image tokens, whose places and number `tokens` has."""

    def pairs(self, n: int, kept: int) -> int:
        """Products of two features that it takes to keep `kept` of `n`."""
        return 0


@dataclass(frozen=True)
class Top(Select):
    """Those with the highest scores; ties go to the first in the prompt."""

    def __call__(self, shown: Shown, tokens: Tokens, counts: tuple[int, ...]) -> Chosen:
        """Keep the best."""
        assert shown.scores is not None
        return Chosen(best(shown.scores, tokens.image, counts))


@dataclass(frozen=True)
class Spaced(Select):
    """Evenly spaced ones in prompt order: the middle of each of so many equal stretches of a sample's image tokens.

    Of n tokens the i-th of K is number ``floor((i + 1/2) n / K)``; several pictures get shares as their sizes are.
    """

    needs = ()

    def __call__(self, shown: Shown, tokens: Tokens, counts: tuple[int, ...]) -> Chosen:
        """Keep those in the middle."""
        image = tokens.image.mask
        n, kept = (torch.tensor(each, device=image.device).unsqueeze(1) for each in ([*tokens.image.counts], [*counts]))
        number = image.cumsum(1) - 1
        return Chosen(image & ((n - 2 * kept * number) % (2 * n).clamp(min=1) < 2 * kept))


@dataclass(frozen=True)
class MaxMin(Select):
    """Those that lie far apart: first the one whose nearest neighbour is farthest, then ever the one farthest from all.

    With the distance 1 - cos of features, as in DivPrune. All cosines are computed once, ``[batch, n, n]``; then a
    running maximum makes each further choice O(n). Ties go to the first.
    """

    needs = ("features",)

    def __call__(self, shown: Shown, tokens: Tokens, counts: tuple[int, ...]) -> Chosen:
        """Choose one after the other, all samples at a time."""
        assert shown.features is not None
        unit, place, real = unit_features(shown.features, tokens)
        alike = (unit @ unit.transpose(1, 2)).masked_fill(~real.unsqueeze(1), -torch.inf)
        alike = alike.masked_fill(alike > _SAME, 1.0)
        own = torch.eye(place.shape[1], dtype=torch.bool, device=place.device)
        nearest = alike.masked_fill(own, -torch.inf).amax(2)
        left, order = real, torch.full_like(nearest, -torch.inf)
        for step in range(max(counts)):
            chosen = nearest.masked_fill(~left, torch.inf).argmin(1, keepdim=True)
            order = order.scatter(1, chosen, -float(step))
            left = left.scatter(1, chosen, value=False)
            of_chosen = alike.gather(1, chosen.unsqueeze(2).expand(-1, -1, place.shape[1])).squeeze(1)
            nearest = torch.maximum(nearest, of_chosen) if step else of_chosen
        scores = torch.full(tokens.columns.shape, -torch.inf, device=order.device, dtype=order.dtype)
        return Chosen(best(scores.scatter(1, place, order), tokens.image, counts))

    def pairs(self, n: int, kept: int) -> int:
        """Each token with each."""
        return n * n


def best(scores: Tensor, group: Group, counts: tuple[int, ...]) -> Tensor:
    """The `counts[b]` members of `group` with the highest scores in each row; ties go to the first.

    Args:
        scores: ``[batch, tokens]``.

    Returns:
        bool ``[batch, tokens]``.
    """
    ranked = scores.float().masked_fill(~group.mask, -torch.inf)
    # Members before strangers even where a score is -inf: two stable sorts, the second by membership.
    order = ranked.argsort(dim=1, descending=True, stable=True)
    order = order.gather(1, (~group.mask).to(torch.int8).gather(1, order).argsort(dim=1, stable=True))
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    limit = torch.tensor(counts, device=scores.device).unsqueeze(1)
    return rank < limit
