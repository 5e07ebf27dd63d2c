"""VisionZip: "VisionZip: Longer is Better but Not Necessary in Vision Language Models" (Yang et al., CVPR 2025)."""

from dataclasses import dataclass
from typing import ClassVar

from visionflow.core.evidence import Tower
from visionflow.core.keep import Ratio
from visionflow.core.merging import Contextual
from visionflow.core.plan import Cut
from visionflow.core.towers import TowerRows
from visionflow.methods.base import Method, check_ratio


@dataclass(frozen=True)
class VisionZip(Method):
    """Drop the fraction `r` of the image tokens before the first layer, by what the vision tower itself attends to.

    Of the tokens kept, most are those that its class token reads most (dominant). The others (contextual) are spread
    evenly over the rest, and each token that goes joins the one whose key in the tower is most like its own: that
    becomes the mean of all. The question plays no part. The tower's layer is the one whose output is projected.

    As in the paper contextual tokens are means; the released code adds the mean of those that join to the target, about
    twice as long a vector. Here projected features are merged, there those before the projector. Here tokens stay in
    their places with their positions; there contextual ones come after the dominant ones, and positions close up. There
    the class token is kept and projected as well, one of the dominant; no image token is made of it here. The published
    54 + 10 of 576 tokens is ``r=8/9``, 108 + 20 ``r=7/9``, 162 + 30 ``r=2/3``.

    Attributes:
        r: fraction dropped, 0 <= r < 1.
        contextual: of the tokens kept, the fraction that others are merged into; 0 <= contextual < 1.
        rows: "cls", what the class token reads of the patches; "received", what the patches read of each other, for
            towers without one (docs/families.md says which).

    Raises:
        VisionFlowError: a field is out of range.
    """

    name: ClassVar[str] = "visionzip"

    r: float
    contextual: float = 10 / 64
    rows: TowerRows = "cls"

    def __post_init__(self) -> None:
        check_ratio("r", self.r)
        self.cuts()

    def cuts(self) -> tuple[Cut, ...]:
        """One cut, before the first layer."""
        return (Cut(0, Ratio(self.r), Tower(self.rows), Contextual(self.contextual)),)
