"""Which image tokens stay, given the evidence and how many: pure functions, by name."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from visionflow.core.evidence import Shown
from visionflow.core.forms import Form
from visionflow.core.tokens import Group, Tokens, per_sample


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


class Select(Form, ABC):
    """A pure choice: it reads nothing from the device, so that lengths are known on the host."""

    needs: ClassVar[tuple[Literal["scores", "features"], ...]] = ("scores",)
    """What the evidence has to show."""
    merges: ClassVar[bool] = False
    """Dropped tokens are merged into kept ones."""

    @abstractmethod
    def __call__(self, shown: Shown, tokens: Tokens, counts: tuple[int, ...]) -> Chosen:
        """Keep `counts` of each sample's image tokens, whose places and number `tokens` has."""

    def pairs(self, n: int, kept: int, text: int) -> int:
        """Products of two features that it takes to keep `kept` of `n`, with so many of `text` after the first."""
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
        n, kept = per_sample(tokens.image.counts, image.device), per_sample(counts, image.device)
        number = image.cumsum(1) - 1
        return Chosen(image & ((n - 2 * kept * number) % (2 * n).clamp(min=1) < 2 * kept))


def best(scores: Tensor, group: Group, counts: tuple[int, ...]) -> Tensor:
    """The `counts[b]` members of `group` with the highest scores in each row; ties go to the first.

    Args:
        scores: ``[batch, tokens]``.

    Returns:
        bool ``[batch, tokens]``.
    """
    # Members before strangers, even where a member's score is -inf.
    ranked = scores.float().clamp(min=torch.finfo(torch.float32).min).masked_fill(~group.mask, -torch.inf)
    order = ranked.argsort(dim=1, descending=True, stable=True)
    if len(set(counts)) == 1:
        return group.mask.scatter(1, order[:, counts[0] :], False)
    rank = torch.arange(order.shape[1], device=order.device)
    return group.mask.scatter(1, order, rank < per_sample(counts, order.device))
