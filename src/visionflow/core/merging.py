"""Choices that merge: image tokens that do not stay join some that do (`visionflow.core.selection.Chosen.into`)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from visionflow.core.evidence import Shown
from visionflow.core.selection import Chosen, Select, best
from visionflow.core.tokens import Group, Tokens, pack
from visionflow.errors import VisionFlowError


@dataclass(frozen=True)
class Contextual(Select):
    """Those with the highest scores, and targets evenly spaced among the rest, which the others join.

    A token joins the target whose features are most like its own, by cosine. One with a score of -inf, behind which no
    patch stands (the newline tokens of tiled pictures), joins none and is the last to become a target.

    Attributes:
        share: of the tokens kept, the fraction that are targets: floor(share x kept); 0 <= share < 1.
    """

    needs = ("scores", "features")
    merges = True

    share: float = 10 / 64

    def __post_init__(self) -> None:
        if isinstance(self.share, bool) or not isinstance(self.share, int | float) or not 0 <= self.share < 1:
            raise VisionFlowError(f"the share of targets must be at least 0 and below 1, not {self.share!r}")

    def targets(self, kept: int) -> int:
        """How many of those kept are targets."""
        return int(round(self.share * kept, 9))

    def pairs(self, n: int, kept: int) -> int:
        """One product of each token that goes with each target."""
        return (n - kept) * self.targets(kept)

    def __call__(self, shown: Shown, tokens: Tokens, counts: tuple[int, ...]) -> Chosen:
        """Keep the best, and the targets."""
        assert shown.scores is not None
        assert shown.features is not None
        image, device = tokens.image, shown.scores.device
        targets = tuple(map(self.targets, counts))
        dominant = best(shown.scores, image, tuple(kept - few for kept, few in zip(counts, targets, strict=True)))
        if not any(targets):
            return Chosen(dominant)
        rest, blank = image.mask & ~dominant, shown.scores.isneginf()
        target = rest & _evenly(rest & ~blank, rest & blank, torch.tensor(targets, device=device).unsqueeze(1))
        keep = dominant | target
        dropped = tuple(n - kept for n, kept in zip(image.counts, counts, strict=True))
        place, joins = pack(image.mask & ~keep, max(dropped))
        nearest = _nearest(shown.features, place, Group(target, targets))
        able = torch.tensor([few > 0 for few in targets], device=device).unsqueeze(1)
        own = torch.arange(keep.shape[1], device=device).expand(keep.shape)
        into = own.scatter(1, place, torch.where(joins & able & ~blank.gather(1, place), nearest, place))
        return Chosen(keep, into)


def _evenly(first: Tensor, last: Tensor, count: Tensor) -> Tensor:
    """Every max(1, n // count)-th of the n `first`, up to `count` (``[batch, 1]``); of the `last` what is missing."""
    n = first.sum(1, keepdim=True)
    rank = torch.where(last, n + last.cumsum(1), first.cumsum(1)) - 1
    step = (n // count.clamp(min=1)).clamp(min=1)
    return (rank % step == 0) & (rank // step < count)


def _nearest(features: Tensor, place: Tensor, targets: Group) -> Tensor:
    """For the tokens at `place` ``[batch, n]`` the place of the target that they are most like; any of no targets."""
    index, real = targets.index()
    alike = _unit(features, place) @ _unit(features, index).transpose(1, 2)
    return index.gather(1, alike.masked_fill(~real.unsqueeze(1), -torch.inf).argmax(2))


def _unit(features: Tensor, place: Tensor) -> Tensor:
    return normalize(features.gather(1, place.unsqueeze(2).expand(-1, -1, features.shape[2])), dim=2)
