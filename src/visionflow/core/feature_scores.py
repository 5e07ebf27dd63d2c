"""What vectors of the tokens say: one score per token, or how much each query row counts. Pure functions, by name."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from visionflow.core.forms import Form
from visionflow.core.tokens import Group, GroupName, Tokens


class FeatureScore(Form, ABC):
    """Turns features into one score per token."""

    @abstractmethod
    def __call__(self, features: Tensor, tokens: Tokens) -> Tensor:
        """``[batch, tokens]`` of features ``[batch, tokens, width]``, both in fp32 (fp64 in fp64)."""

    def pairs(self, n: int, text: int) -> int:
        """Products of two features that it takes for `n` image tokens and so many of `text` after the first."""
        return 0


class RowWeights(Form, ABC):
    """How much each query row counts, known from the states that enter layer 0."""

    @abstractmethod
    def __call__(self, features: Tensor, tokens: Tokens) -> Tensor:
        """``[batch, tokens]`` of features ``[batch, tokens, width]`` of all tokens given, in fp32 (fp64 in fp64)."""

    @abstractmethod
    def pairs(self, n: int, text: int) -> int:
        """Products of two features that it takes, as of `FeatureScore`."""


@dataclass(frozen=True)
class AwayFromMean(FeatureScore):
    """How little a token is like the mean of its sample's image tokens: minus the cosine of the two."""

    def __call__(self, features: Tensor, tokens: Tokens) -> Tensor:
        """Minus the cosine; zero for other tokens."""
        unit, place, real = unit_features(features, tokens)
        image = features.gather(1, place.unsqueeze(2).expand_as(unit)) * real.unsqueeze(2)
        mean = torch.nn.functional.normalize(image.sum(1), dim=1)  # a cosine knows no length
        cosine = (unit @ mean.unsqueeze(2)).squeeze(2)
        return torch.zeros(features.shape[:2], device=features.device, dtype=features.dtype).scatter(1, place, -cosine)

    def pairs(self, n: int, text: int) -> int:
        """Each token with the mean."""
        return n


@dataclass(frozen=True)
class LikeText(FeatureScore):
    """How like the text after the first picture a token is: the mean cosine to its tokens, from 0 to 1 in each sample.

    Of n image tokens the least like it has ``1e-6 / (range + 1e-6)``, all but 0, and the most like it 1.

    Attributes:
        negated: how unlike it is instead.
    """

    negated: bool = False

    def __call__(self, features: Tensor, tokens: Tokens) -> Tensor:
        """The score of image tokens; zero for others."""
        unit, place, real = unit_features(features, tokens)
        words, _, said = unit_features(features, tokens, "instruction")
        mean = words.sum(1) / said.sum(1, keepdim=True).clamp(min=1)
        cosine = (unit @ mean.unsqueeze(2)).squeeze(2) * (-1 if self.negated else 1)
        low = cosine.masked_fill(~real, torch.inf).amin(1, keepdim=True)
        high = cosine.masked_fill(~real, -torch.inf).amax(1, keepdim=True)
        score = torch.where(real, (cosine - low + 1e-6) / (high - low + 1e-6), 0.0)
        return torch.zeros(features.shape[:2], device=features.device, dtype=features.dtype).scatter(1, place, score)

    def pairs(self, n: int, text: int) -> int:
        """Each image token with the mean of the text's unit vectors."""
        return n


@dataclass(frozen=True)
class Length(FeatureScore):
    """The sum of the absolute values of each token's vector, of text as well (L1 norm)."""

    def __call__(self, features: Tensor, tokens: Tokens) -> Tensor:
        """The score of every token."""
        return features.abs().sum(2)


@dataclass(frozen=True)
class Raters(RowWeights):
    """1 for the text tokens after the first picture that the picture points at most, 0 for others.

    With v the image and t the text rows as they enter layer 0, ``w = mean_v softmax_t(v t^T)``, without a scale: rows
    of at least the mean weight are raters, as in SparseVLM. A sample's weights add up to 1.
    """

    def __call__(self, features: Tensor, tokens: Tokens) -> Tensor:
        """One over their number for raters, 0 for others."""
        image, text = (_members(features, tokens.group(name)) for name in ("image", "instruction"))
        (rows, _, real), (words, place, said) = image, text
        read = (rows @ words.transpose(1, 2)).masked_fill(~said.unsqueeze(1), -torch.inf).softmax(2).nan_to_num(0.0)
        weight = (read * real.unsqueeze(2)).sum(1) / real.sum(1, keepdim=True).clamp(min=1)
        count = said.sum(1, keepdim=True).clamp(min=1)
        rates = said & (weight >= (weight * said).sum(1, keepdim=True) / count)
        share = rates.to(features.dtype) / rates.sum(1, keepdim=True).clamp(min=1)
        return torch.zeros(features.shape[:2], device=features.device, dtype=features.dtype).scatter(1, place, share)

    def pairs(self, n: int, text: int) -> int:
        """Each image token with each of the text."""
        return n * text


def unit_features(features: Tensor, tokens: Tokens, of: GroupName = "image") -> tuple[Tensor, Tensor, Tensor]:
    """The features of a group of tokens at length 1, zero in fillers.

    Args:
        features: ``[batch, tokens, width]``.
        tokens: the tokens present.
        of: which of them.

    Returns:
        ``[batch, n, width]``; their places and which are real, ``[batch, n]``, see `visionflow.core.tokens.Group`.
    """
    members, place, real = _members(features, tokens.group(of))
    return torch.nn.functional.normalize(members, dim=2) * real.unsqueeze(2), place, real


def _members(features: Tensor, group: Group) -> tuple[Tensor, Tensor, Tensor]:
    """The features of a group ``[batch, n, width]``, with what `Group.index` says."""
    place, real = group.index()
    return features.gather(1, place.unsqueeze(2).expand(-1, -1, features.shape[2])), place, real
