"""Choices of tokens that cover the picture, or picture and text: facility location, one token after the other.

Pure functions, by name, as those of `visionflow.core.greedy`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from visionflow.core.evidence import Shown
from visionflow.core.feature_scores import unit_features
from visionflow.core.greedy import in_turn
from visionflow.core.keep import share_of
from visionflow.core.selection import Chosen, Select, best
from visionflow.core.tokens import Tokens


@dataclass(frozen=True)
class Coverage(Select):
    """Those that all image tokens are like, greedily: facility location, weighed by scores.

    The gain of token i is ``sum_u max(0, cos(f_u, f_i) - c_u)``, c_u being the largest cosine of u to a chosen one, at
    first 0; the one with the largest ``gain x score^power`` is chosen. A score of -inf, behind which no patch stands,
    is taken for 0.

    Attributes:
        power: of the score; 0 for the gain alone.
    """

    needs = ("scores", "features")

    power: float = 1.0

    def __call__(self, shown: Shown, tokens: Tokens, counts: tuple[int, ...]) -> Chosen:
        """Choose one after the other, all samples at a time."""
        assert shown.scores is not None
        assert shown.features is not None
        unit, place, real = unit_features(shown.features, tokens)
        weight = shown.scores.gather(1, place).to(unit.dtype).clamp(min=0) ** self.power
        return _covering(unit @ unit.transpose(1, 2), weight, place, real, tokens, counts)

    def pairs(self, n: int, kept: int, text: int) -> int:
        """Each token with each."""
        return n * n


@dataclass(frozen=True)
class TopThenCoverage(Select):
    """Those with the highest scores, and then those that all image tokens are like which are not like these.

    Of K that stay the ``floor(top K)`` with the highest scores; the others greedily by the gain of `Coverage`,
    ``sum_u max(0, cos(f_u, f_i) - c_u)``, c_u being the largest cosine of u to a chosen one, the first ones included.

    Attributes:
        top: share of the kept that are chosen by their scores, from 0 to 1.
    """

    needs = ("scores", "features")

    top: float = 0.75

    def __call__(self, shown: Shown, tokens: Tokens, counts: tuple[int, ...]) -> Chosen:
        """The best at once, the others one after the other, all samples at a time."""
        assert shown.scores is not None
        assert shown.features is not None
        first = tuple(share_of(self.top, kept) for kept in counts)
        rest = tuple(kept - taken for kept, taken in zip(counts, first, strict=True))
        keep = best(shown.scores, tokens.image, first)
        unit, place, real = unit_features(shown.features, tokens)
        seeds = keep.gather(1, place) & real
        alike = unit @ unit.transpose(1, 2)
        of_seeds = alike.masked_fill(~seeds.unsqueeze(1), 0.0)
        covered = torch.nn.functional.pad(of_seeds, (0, 1)).amax(2)  # at least 0, also of no seeds and of no tokens
        more = _covering(alike, torch.ones_like(covered), place, real & ~seeds, tokens, rest, covered)
        return Chosen(keep | more.keep)

    def pairs(self, n: int, kept: int, text: int) -> int:
        """Each token with each."""
        return n * n


@dataclass(frozen=True)
class TextAndImageCoverage(Select):
    """Those that cover the text and the picture, greedily: facility location over two tables, one above the other.

    With t the features of the m text tokens after the first picture and f those of the n image tokens, the table M is
    ``softmax_j(cos(t_i, f_j) / text_temperature) / m`` over ``softmax_j(cos(f_i, f_j) / image_temperature) / n`` times
    `image_share`. The gain of token j is ``sum_i max(0, M[i, j] - c_i)`` over the rows i, c_i being the largest entry
    of that row in a chosen column, at first 0.

    Attributes:
        text_temperature, image_temperature: of the two softmaxes.
        image_share: weight of the second table.
    """

    needs = ("features",)

    text_temperature: float = 0.02
    image_temperature: float = 0.2
    image_share: float = 0.5

    def __call__(self, shown: Shown, tokens: Tokens, counts: tuple[int, ...]) -> Chosen:
        """Choose one after the other, all samples at a time."""
        assert shown.features is not None
        unit, place, real = unit_features(shown.features, tokens)
        words, _, said = unit_features(shown.features, tokens, "instruction")

        def table(rows: Tensor, there: Tensor, temperature: float) -> Tensor:
            alike = (rows @ unit.transpose(1, 2) / temperature).masked_fill(~real.unsqueeze(1), -1e30)
            count = there.sum(1).clamp(min=1)[:, None, None]
            return alike.softmax(2) * there.unsqueeze(2) / count

        tables = [
            table(words, said, self.text_temperature),
            self.image_share * table(unit, real, self.image_temperature),
        ]
        return _covering(torch.cat(tables, 1), torch.ones_like(unit[..., 0]), place, real, tokens, counts)

    def pairs(self, n: int, kept: int, text: int) -> int:
        """Each image token with each, and with each of the text."""
        return n * (n + text)


def _covering(
    table: Tensor,
    weight: Tensor,
    place: Tensor,
    left: Tensor,
    tokens: Tokens,
    counts: tuple[int, ...],
    covered: Tensor | None = None,
) -> Chosen:
    """Columns of `table` ``[batch, rows, n]`` that together have large entries in all rows; gains times `weight`.

    Args:
        left: which columns may be chosen.
        covered: ``[batch, rows]``, what of each row is covered before; nothing by default.
    """
    reached = table.new_zeros(table.shape[:2]) if covered is None else covered

    def value() -> Tensor:
        return (table - reached.unsqueeze(2)).clamp(min=0).sum(1) * weight

    def after(chosen: Tensor, step: int) -> Tensor:
        nonlocal reached
        reached = torch.maximum(reached, table.gather(2, chosen.unsqueeze(1).expand(-1, table.shape[1], 1)).squeeze(2))
        return value()

    return in_turn(value(), after, place, left, tokens, counts)
