"""Choices that merge: image tokens that do not stay join some that do (`visionflow.core.selection.Chosen.into`)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from visionflow.core.evidence import Shown
from visionflow.core.keep import share_of
from visionflow.core.selection import Chosen, Select, best
from visionflow.core.tokens import Group, Tokens, pack, per_sample
from visionflow.errors import VisionFlowError

_EQUAL = 1e-6  # of the squared lengths of two vectors; a squared distance below that is rounding


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
        return share_of(self.share, kept)

    def pairs(self, n: int, kept: int, text: int) -> int:
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
        target = rest & _evenly(rest & ~blank, rest & blank, per_sample(targets, device))
        keep = dominant | target
        dropped = tuple(n - kept for n, kept in zip(image.counts, counts, strict=True))
        place, joins = pack(image.mask & ~keep, max(dropped))
        nearest = _nearest(shown.features, place, Group(target, targets))
        able = per_sample(targets, device) > 0
        own = torch.arange(keep.shape[1], device=device).expand(keep.shape)
        into = own.scatter(1, place, torch.where(joins & able & ~blank.gather(1, place), nearest, place))
        return Chosen(keep, into)


@dataclass(frozen=True)
class Recycled(Select):
    """Those with the highest scores, and the centres of clusters, made of the best of the rest, which join them.

    Of the R tokens that are not among the best the ``int(share R) + 1`` with the highest scores are the pool, and
    ``C = int(pool / per) + 1`` of these the centres; the best are so many that they and the centres are those kept.
    With features x of D numbers and the distance ``d(i, j) = |x_i - x_j| / sqrt(D)``, the density of a token of the
    pool is ``exp(-mean of d^2 to its C nearest)``, itself included, and centres have the largest product of density and
    distance to the nearest denser one (of the densest: the largest distance of all). The others of the pool join the
    nearest centre, the rest is dropped. Ties go to the first; the released code of SparseVLM adds noise to densities.

    Attributes:
        share: of the tokens that are not among the best, the fraction that is clustered.
        per: tokens of the pool for one centre.
    """

    needs = ("scores", "features")
    merges = True

    share: float = 0.3
    per: int = 10

    def best(self, n: int, kept: int) -> tuple[int, int, int]:
        """Of n tokens of which `kept` stay: how many are the best, how many the pool, and how many its centres."""
        if kept >= n:
            return n, 0, 0
        for top in range(kept, -1, -1):
            pool = share_of(self.share, n - top) + 1
            centres = min(pool // self.per + 1, pool)
            if top + centres <= kept:
                break
        return max(0, kept - centres), pool, min(centres, kept)

    def pairs(self, n: int, kept: int, text: int) -> int:
        """Each of the pool with each."""
        return self.best(n, kept)[1] ** 2

    def __call__(self, shown: Shown, tokens: Tokens, counts: tuple[int, ...]) -> Chosen:
        """Keep the best, and the centres."""
        assert shown.scores is not None
        assert shown.features is not None
        image, device = tokens.image, shown.scores.device
        sizes = [self.best(n, kept) for n, kept in zip(image.counts, counts, strict=True)]
        tops, pools, centres = (tuple(part) for part in zip(*sizes, strict=True))
        keep = best(shown.scores, image, tops)
        if not any(pools):
            return Chosen(keep)
        pool = best(shown.scores, Group(image.mask & ~keep, image.counts), pools)
        place, real = pack(pool, max(pools))
        apart = _distances(shown.features, place, real)
        central = _density_peaks(apart, real, per_sample(centres, device))
        scores = torch.full(keep.shape, -torch.inf, device=device).scatter(1, place, central.float())
        centre = best(scores, Group(pool, pools), centres)
        is_centre = centre.gather(1, place) & real
        nearest = place.gather(1, apart.masked_fill(~is_centre.unsqueeze(1), torch.inf).argmin(2))
        own = torch.arange(keep.shape[1], device=device).expand(keep.shape)
        return Chosen(keep | centre, own.scatter(1, place, torch.where(real & ~is_centre, nearest, place)))


def _distances(features: Tensor, place: Tensor, real: Tensor) -> Tensor:
    """Squared distances over their width ``[batch, n, n]`` of the features at `place`; inf to fillers."""
    rows = features.gather(1, place.unsqueeze(2).expand(-1, -1, features.shape[2]))
    squares = (rows**2).sum(2)
    apart = (squares.unsqueeze(1) + squares.unsqueeze(2) - 2 * rows @ rows.transpose(1, 2)).clamp(min=0)
    own = torch.eye(place.shape[1], dtype=torch.bool, device=place.device)
    apart = apart.masked_fill(own | (apart < _EQUAL * (squares.unsqueeze(1) + squares.unsqueeze(2))), 0.0)
    return (apart / features.shape[2]).masked_fill(~real.unsqueeze(1), torch.inf)


def _density_peaks(apart: Tensor, real: Tensor, count: Tensor) -> Tensor:
    """How central each token is, ``[batch, n]``: its density times its distance to the nearest denser one.

    Args:
        apart: squared distances ``[batch, n, n]``.
        real: bool ``[batch, n]``, False for fillers.
        count: ``[batch, 1]``, over how many of the nearest the mean is taken.
    """
    rank = torch.arange(apart.shape[2], device=apart.device)
    near = apart.sort(2).values.masked_fill(rank >= count.unsqueeze(2), 0.0)
    density = (-near.sum(2) / count.clamp(min=1)).exp()
    first = rank.unsqueeze(0) < rank.unsqueeze(1)
    same = density.unsqueeze(1) == density.unsqueeze(2)
    denser = (density.unsqueeze(1) > density.unsqueeze(2)) | (same & first)
    denser = denser & real.unsqueeze(1)
    farthest = apart.masked_fill(~(real.unsqueeze(1) & real.unsqueeze(2)), 0.0).flatten(1).amax(1, keepdim=True)
    distance = apart.masked_fill(~denser, torch.inf).amin(2).sqrt()
    return density * torch.where(denser.any(2), distance, farthest.sqrt())


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
