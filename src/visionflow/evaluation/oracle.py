"""The oracle: a selection that knows which patches the answer rests on."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from visionflow.core.draw import draw
from visionflow.core.evidence import FromTokens, Shown
from visionflow.core.keep import Positive, Ratio, check_ratio
from visionflow.core.plan import Cut
from visionflow.core.tokens import Tokens
from visionflow.errors import VisionFlowError
from visionflow.methods.base import Method, check_layer


@dataclass(frozen=True)
class Oracle(Method):
    """Keep the known relevant patches from layer `k` on: what a selection at that layer would keep if it knew.

    Without `r` exactly these stay, as many as they are: no ceiling, for a model may want more than the evidence. With
    `r` they stay first, and a margin of others, drawn by lot, up to a share of 1 - r of the image tokens.

    Attributes:
        k: layers that run before the cut; at least 1 without `r`.
        relevant: bool ``[batch, patches]``, row by row; None until the batch is known.
        r: fraction of the image tokens dropped; None for all that do not matter.

    Raises:
        VisionFlowError: `k` or `r` is out of range.
    """

    name: ClassVar[str] = "oracle"

    k: int
    relevant: Tensor | None = None
    r: float | None = None

    def __post_init__(self) -> None:
        check_layer("k", self.k, least=int(self.r is None))
        if self.r is not None:
            check_ratio("r", self.r)

    def __str__(self) -> str:
        margin = "" if self.r is None else f", r={self.r:g}"
        return f"Oracle(k={self.k}{margin})"

    def cuts(self) -> tuple[Cut, ...]:
        """One cut; without `r` as many stay as matter, which may be none."""
        keep = Positive() if self.r is None else Ratio(self.r)
        return (Cut(self.k, keep, _Relevant(self.relevant, margin=self.r is not None)),)


@dataclass(frozen=True, eq=False)
class _Relevant(FromTokens):
    """Which patches matter, bool ``[batch, patches]``; with a `margin` the others are ranked by lot."""

    relevant: Tensor | None
    margin: bool

    def show(self, tokens: Tokens) -> Shown:
        if self.relevant is None:
            raise VisionFlowError("an oracle knows nothing before it is given the relevant patches of its batch")
        patch = (tokens.image.mask.cumsum(1) - 1).clamp(min=0)
        scores = self.relevant.to(patch.device).gather(1, patch).float()
        return Shown(scores + draw(tokens, 0) / 2**24 if self.margin else scores)
