"""Choices made one token after the other: each looks at those that are chosen already. Pure functions, by name.

Products of features are made once, ``[batch, n, n]``; a running vector then makes each further choice O(n) or O(K n),
O(n^2) where all that is covered is asked again. Ties go to the first in the prompt. Tokens of all pictures of a sample
are chosen among together.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from visionflow.core.evidence import Shown
from visionflow.core.feature_scores import unit_features
from visionflow.core.selection import Chosen, Select, best
from visionflow.core.tokens import Group, Tokens

_SAME = 1 - 1e-6  # cosines above are 1 but for rounding: tokens that are equal tie
_TIE = 1e-5  # of the largest value; what is as near to it is as large but for rounding
_FLAT = 1e-4  # of its own length; what is left of a vector below that is rounding: such tokens tie


@dataclass(frozen=True)
class MaxMin(Select):
    """Those that lie far apart: first the one whose nearest neighbour is farthest, then ever the one farthest from all.

    With the distance 1 - cos of features, as in DivPrune.
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

        def after(chosen: Tensor, step: int) -> Tensor:
            nonlocal nearest
            of_chosen = _row(alike, chosen)
            nearest = torch.maximum(nearest, of_chosen) if step else of_chosen
            return -nearest

        return in_turn(-nearest, after, place, real, tokens, counts)

    def pairs(self, n: int, kept: int, text: int) -> int:
        """Each token with each."""
        return n * n


@dataclass(frozen=True)
class Dpp(Select):
    """The likeliest set of a determinantal point process, greedily: each choice enlarges the determinant the most.

    Its kernel is ``L[i, j] = s_i cos(f_i, f_j) s_j`` with scores s and features f: tokens that score high and are
    unlike each other. What each token would add is kept up to date by the incremental Cholesky factorisation of
    Chen et al. (NeurIPS 2018). Tokens that the chosen ones span, which would add nothing, come last, in their order.
    """

    needs = ("scores", "features")

    def __call__(self, shown: Shown, tokens: Tokens, counts: tuple[int, ...]) -> Chosen:
        """Choose one after the other, all samples at a time."""
        assert shown.scores is not None
        assert shown.features is not None
        unit, place, real = unit_features(shown.features, tokens)
        scores = shown.scores.gather(1, place).to(unit.dtype)
        kernel = (unit @ unit.transpose(1, 2)) * scores.unsqueeze(1) * scores.unsqueeze(2)
        whole = kernel.diagonal(dim1=1, dim2=2)
        factor = kernel.new_zeros(kernel.shape[0], max(counts), kernel.shape[2])
        left = whole

        def after(chosen: Tensor, step: int) -> Tensor:
            nonlocal left
            before = factor.gather(2, chosen.unsqueeze(1).expand(-1, factor.shape[1], 1))
            row = _row(kernel, chosen) - (factor * before).sum(1)
            length = left.gather(1, chosen)
            factor[:, step] = torch.where(length > 0, row / length.clamp(min=1e-30).sqrt(), 0.0)
            left = left - factor[:, step] ** 2
            left = torch.where(left > _FLAT * whole, left, 0.0)
            return left

        return in_turn(whole, after, place, real, tokens, counts)

    def pairs(self, n: int, kept: int, text: int) -> int:
        """Each token with each; the factorisation's K n^2 products of single numbers are not counted."""
        return n * n


@dataclass(frozen=True)
class FarFromPivots(Select):
    """A few pivots, and those least like one of them: pivots are the image and the text tokens that score highest.

    Each pivot in turn, of the image first and the highest first, takes its share of the tokens that are left: those of
    the lowest cosine to it. The image pivots are kept and count; the shares of the others differ by one at most, the
    first ones having more.

    Attributes:
        image: pivots among the image tokens.
        text: pivots among the text tokens after the first picture.
    """

    needs = ("scores", "features")

    image: int = 4
    text: int = 4

    def __call__(self, shown: Shown, tokens: Tokens, counts: tuple[int, ...]) -> Chosen:
        """Pivot by pivot, all samples at a time."""
        assert shown.scores is not None
        assert shown.features is not None
        pivots = [min(self.image, kept) for kept in counts]
        words = [min(self.text, n) for n in tokens.instruction.counts]
        unit, place, _ = unit_features(shown.features, tokens)
        index = torch.cat(
            [_highest(shown.scores, tokens.image, max(pivots)), _highest(shown.scores, tokens.instruction, max(words))],
            1,
        )
        of_pivots = shown.features.gather(1, index.unsqueeze(2).expand(-1, -1, unit.shape[2]))
        unlike = -torch.nn.functional.normalize(of_pivots, dim=2) @ unit.transpose(1, 2)
        keep = best(shown.scores, tokens.image, tuple(pivots))
        for number, shares in enumerate(_shares(counts, pivots, words)):
            nothing = torch.full(keep.shape, -torch.inf, device=keep.device, dtype=unlike.dtype)
            scores = nothing.scatter(1, place, unlike[:, number])
            left = tokens.image.mask & ~keep
            keep = keep | best(scores, Group(left, tokens.image.counts), shares)
        return Chosen(keep)

    def pairs(self, n: int, kept: int, text: int) -> int:
        """Each pivot with each token."""
        return n * (min(self.image, kept) + min(self.text, text))


def _shares(counts: Sequence[int], pivots: Sequence[int], words: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """For each pivot how many tokens it takes in each sample; a sample may have fewer pivots than others."""
    for name, most in (("image", max(pivots)), ("text", max(words))):
        for number in range(most):
            shares = []
            for kept, own, said in zip(counts, pivots, words, strict=True):
                place = number if name == "image" else own + number
                there = number < (own if name == "image" else said)
                shares.append((kept - own) // (own + said) + (place < (kept - own) % (own + said)) if there else 0)
            yield tuple(shares)


def _highest(scores: Tensor, group: Group, many: int) -> Tensor:
    """Places of the members with the highest scores, highest first, ``[batch, many]``; any where there are fewer."""
    return scores.masked_fill(~group.mask, -torch.inf).argsort(dim=1, descending=True, stable=True)[:, :many]


def in_turn(
    value: Tensor,
    after: Callable[[Tensor, int], Tensor],
    place: Tensor,
    left: Tensor,
    tokens: Tokens,
    counts: tuple[int, ...],
) -> Chosen:
    """Choose one after the other the token of the largest value, of those left, as many as each sample keeps.

    Args:
        value: ``[batch, n]``, of the first choice.
        after: from the choice ``[batch, 1]`` and its number the values of the next.
        place: of the n image tokens, see `visionflow.core.tokens.Group`.
        left: which of them may be chosen, ``[batch, n]``.
        tokens: the tokens present.
        counts: how many stay.
    """
    order = torch.full_like(value, -torch.inf)
    for step in range(max(counts)):
        value = value.masked_fill(~left, -torch.inf)
        largest = value.amax(1, keepdim=True)
        chosen = (value >= largest - _TIE * largest.abs()).byte().argmax(1, keepdim=True)
        order = order.scatter(1, chosen, -float(step))
        left = left.scatter(1, chosen, value=False)
        value = after(chosen, step)
    scores = torch.full(tokens.columns.shape, -torch.inf, device=order.device, dtype=order.dtype)
    return Chosen(best(scores.scatter(1, place, order), tokens.image, counts))


def _row(table: Tensor, chosen: Tensor) -> Tensor:
    """The row of each sample's choice ``[batch, 1]`` in ``[batch, n, n]``."""
    return table.gather(1, chosen.unsqueeze(2).expand(-1, 1, table.shape[2])).squeeze(1)
