"""On what a cut decides: attention of a layer, features of the tokens, the vision tower, a seed, or nothing."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from visionflow.core.attention import AttentionRows, Heads, exact
from visionflow.core.draw import draw
from visionflow.core.feature_scores import FeatureScore, RowWeights
from visionflow.core.forms import Form
from visionflow.core.reductions import Paid, Received
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


When = Literal["ran", "entry"]


class Evidence(Form, ABC):
    """What an engine is to show at a cut."""

    @property
    def parts(self) -> "tuple[Evidence, ...]":
        """What it is made of, each shown by itself: this alone, where it is not joined of others."""
        return (self,)

    @property
    def read(self) -> When | None:
        """Whose queries and keys it is made of: of the layer that "ran" or is about to ("entry"); None for nobody's."""
        return None

    @property
    def reads_inputs(self) -> bool:
        """It is made of the states as they enter layer 0."""
        return False

    @property
    def earliest(self) -> int:
        """The first layer before which a cut may ask for it: a layer that has run is needed, or none."""
        return int(self.read == "ran")

    @property
    def shows(self) -> tuple[str, ...]:
        """Of "scores" and "features" those that it shows."""
        return ("scores",)

    def joined(self, before: Shown | None, part: "Evidence", shown: Shown) -> Shown:
        """What is known once one of its `parts` has been `shown`, where those `before` it have been."""
        return shown


@dataclass(frozen=True)
class Attention(Evidence):
    """Some rows of a layer's attention, reduced to one score per token; only these rows are computed.

    Attributes:
        rows: the query rows.
        reduce: turns them into scores ``[batch, tokens]`` in fp32; a function works, but does not travel.
        heads: how heads are joined: "mean", "max", or a weight for each.
        when: the layer that has just run ("ran", layer k-1), or the one that is about to ("entry", layer k, on the
            tokens that enter it, whose queries and keys are computed once more for it).
        weigh: how much each row counts; None for all alike. Scores that are sums over rows are then weighted sums.
    """

    rows: GroupName
    reduce: Callable[[AttentionRows], Tensor] = Received()
    heads: Heads = "mean"
    when: When = "ran"
    weigh: RowWeights | None = None

    def __post_init__(self) -> None:
        if self.when not in ("ran", "entry"):
            raise VisionFlowError(f"when is 'ran' or 'entry', not {self.when!r}")
        if not callable(self.reduce):
            raise VisionFlowError(f"reduce is a reduction such as Received(), not {self.reduce!r}")
        if self.weigh is not None and isinstance(self.reduce, Paid):
            raise VisionFlowError("what single rows pay is no sum over rows that could be weighed: leave weigh out")

    @property
    def read(self) -> When:
        """As `when` says."""
        return self.when

    @property
    def reads_inputs(self) -> bool:
        """Where rows are weighed on them."""
        return self.weigh is not None


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
    def read(self) -> When | None:
        """Keys are those of a layer that has run."""
        return "ran" if self.of == "key" else None

    @property
    def reads_inputs(self) -> bool:
        """Picture features are."""
        return self.of == "image"

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
            read of it, for towers without a class token; "flow", of all layers up to that one, each weighing as much as
            all before it, what flows through the class token (`visionflow.core.towers.flow_seen`).
    """

    rows: TowerRows = "cls"

    def __post_init__(self) -> None:
        if self.rows not in get_args(TowerRows):
            raise VisionFlowError(f"rows of the tower are 'cls' or 'received', or 'flow', not {self.rows!r}")

    @property
    def shows(self) -> tuple[str, ...]:
        """Both."""
        return ("scores", "features")


@dataclass(frozen=True)
class Both(Evidence):
    """Scores of one kind of evidence beside features of another.

    Attributes:
        scores: what shows the scores.
        features: what shows the features.
    """

    scores: Evidence
    features: Evidence

    def __post_init__(self) -> None:
        for part, name in ((self.scores, "scores"), (self.features, "features")):
            if len(part.parts) != 1 or name not in part.shows or isinstance(part, FromTokens):
                raise VisionFlowError(f"the {name} of two kinds of evidence cannot be those of {part!r}")

    @property
    def parts(self) -> tuple[Evidence, ...]:
        """Both."""
        return (self.scores, self.features)

    @property
    def reads_inputs(self) -> bool:
        """Where one does."""
        return any(part.reads_inputs for part in self.parts)

    @property
    def earliest(self) -> int:
        """Where both are there."""
        return max(part.earliest for part in self.parts)

    @property
    def shows(self) -> tuple[str, ...]:
        """Both."""
        return ("scores", "features")

    def joined(self, before: Shown | None, part: Evidence, shown: Shown) -> Shown:
        """Of each part what it is there for."""
        before = before or Shown()
        if part is self.scores:
            return Shown(shown.scores, before.features)
        return Shown(before.scores, shown.features)


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
