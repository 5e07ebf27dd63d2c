"""On what a cut decides: attention of a layer, features of the tokens, the vision tower, a seed, or nothing."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from visionflow.core.attention import AttentionRows, Heads, exact
from visionflow.core.draw import draw
from visionflow.core.forms import Form
from visionflow.core.reductions import Received
from visionflow.core.tokens import GroupName, Tokens
from visionflow.core.towers import TowerRows
from visionflow.errors import VisionFlowError


@dataclass(frozen=True)
class Shown:
    """What evidence shows of the tokens present.

    Attributes:
        scores: ``[batch, tokens]`` in fp32, the higher the better; None where a choice needs none.
        features: ``[batch, tokens, width]``; None where a choice needs none.
    """

    scores: Tensor | None = None
    features: Tensor | None = None

    def to(self, device: torch.device) -> "Shown":
        """The same on another device."""
        parts = (None if part is None else part.to(device) for part in (self.scores, self.features))
        return Shown(*parts)


class Evidence(Form, ABC):
    """What an engine is to show at a cut."""

    @property
    def earliest(self) -> int:
        """The first layer before which a cut may ask for it."""
        return 0

    @property
    def shows(self) -> tuple[str, ...]:
        """Of "scores" and "features" those that it shows."""
        return ("scores",)


@dataclass(frozen=True)
class Attention(Evidence):
    """Some rows of a layer's attention, reduced to one score per token; only these rows are computed.

    Attributes:
        rows: the query rows.
        reduce: turns them into scores ``[batch, tokens]`` in fp32; a function works, but does not travel.
        heads: how heads are joined: "mean", "max", or a weight for each.
        when: the layer that has just run ("ran", layer k-1), or the one that is about to ("entry", layer k, on the
            tokens that enter it, whose queries and keys are computed once more for it).
    """

    rows: GroupName
    reduce: Callable[[AttentionRows], Tensor] = Received()
    heads: Heads = "mean"
    when: Literal["ran", "entry"] = "ran"

    def __post_init__(self) -> None:
        if self.when not in ("ran", "entry"):
            raise VisionFlowError(f"when is 'ran' or 'entry', not {self.when!r}")
        if not callable(self.reduce):
            raise VisionFlowError(f"reduce is a reduction such as Received(), not {self.reduce!r}")

    @property
    def earliest(self) -> int:
        """A layer that has run is needed, or none."""
        return int(self.when == "ran")


class FeatureScore(Form, ABC):
    """Turns features into one score per token."""

    @abstractmethod
    def __call__(self, features: Tensor, tokens: Tokens) -> Tensor:
        """``[batch, tokens]`` of features ``[batch, tokens, width]``, both in fp32 (fp64 in fp64)."""

    def pairs(self, n: int) -> int:
        """Products of two features that it takes for `n` image tokens."""
        return 0


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

    def pairs(self, n: int) -> int:
        """Each token with the mean."""
        return n


@dataclass(frozen=True)
class Features(Evidence):
    """Vectors of the tokens, as they are or reduced to scores.

    Attributes:
        of: "image", the projected picture features as they enter layer 0; "hidden", the hidden states before the cut;
            "key", the keys of layer k-1 after rotary positions, heads side by side.
        score: turns them into scores; None for a choice that looks at the features themselves.
    """

    of: Literal["image", "hidden", "key"] = "image"
    score: FeatureScore | None = None

    def __post_init__(self) -> None:
        if self.of not in ("image", "hidden", "key"):
            raise VisionFlowError(f"features are 'image', 'hidden' or 'key', not {self.of!r}")

    @property
    def earliest(self) -> int:
        """Keys are those of a layer that has run."""
        return int(self.of == "key")

    @property
    def shows(self) -> tuple[str, ...]:
        """Themselves, and scores where they are turned into some."""
        return ("features",) if self.score is None else ("features", "scores")

    def show(self, features: Tensor, tokens: Tokens) -> Shown:
        """What they show; features ``[batch, tokens, width]``."""
        features = exact(features)
        return Shown(features=features) if self.score is None else Shown(self.score(features, tokens), features)


@dataclass(frozen=True)
class Tower(Evidence):
    """Attention inside the vision tower, in the layer whose output is projected: scores of the patches, and their keys.

    An image token's score is the sum of its patches' scores, and its features are their mean key, the mean over heads.

    Attributes:
        rows: "cls", what the class token reads of each patch; "received", the sum of what all patches of the picture
            read of it, for towers without a class token.
    """

    rows: TowerRows = "cls"

    def __post_init__(self) -> None:
        if self.rows not in ("cls", "received"):
            raise VisionFlowError(f"rows of the tower are 'cls' or 'received', not {self.rows!r}")

    @property
    def shows(self) -> tuple[str, ...]:
        """Both."""
        return ("scores", "features")


def unit_features(features: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
    """The features of the image tokens at length 1, zero in fillers.

    Args:
        features: ``[batch, tokens, width]``.

    Returns:
        ``[batch, n, width]``; their places and which are real, ``[batch, n]``, see `visionflow.core.tokens.Group`.
    """
    place, real = tokens.image.index()
    image = features.gather(1, place.unsqueeze(2).expand(-1, -1, features.shape[2]))
    return torch.nn.functional.normalize(image, dim=2) * real.unsqueeze(2), place, real


class FromTokens(Evidence):
    """Known from the tokens alone."""

    @abstractmethod
    def show(self, tokens: Tokens) -> Shown:
        """What the tokens show."""


@dataclass(frozen=True)
class Seeded(FromTokens):
    """A hash of the seed, the prompt and each token's place; see `visionflow.core.draw.draw`."""

    seed: int = 0

    def show(self, tokens: Tokens) -> Shown:
        """A draw."""
        return Shown(draw(tokens, self.seed))


@dataclass(frozen=True)
class Nothing(FromTokens):
    """No evidence: the first tokens stay, where any do."""

    def show(self, tokens: Tokens) -> Shown:
        """All alike."""
        return Shown(torch.zeros(tokens.columns.shape, device=tokens.columns.device))
