"""Cover: what stands out of a picture, and a few tokens that cover the rest of it."""

from dataclasses import dataclass
from typing import ClassVar

from visionflow.core.coverage import TopThenCoverage
from visionflow.core.evidence import Features
from visionflow.core.feature_scores import AwayFromMean
from visionflow.core.keep import Ratio
from visionflow.core.plan import Cut
from visionflow.errors import VisionFlowError
from visionflow.methods.base import Method, check_layer, check_ratio


@dataclass(frozen=True)
class Cover(Method):
    """Drop the fraction `r` of the image tokens before layer `k`: what stands out stays, and what covers the rest.

    With f the projected picture features ``[n, width]`` in fp32, as they enter layer 0: of the tokens that stay the
    share `top` are those least like their mean (`visionflow.methods.unlike_mean`), and the others are chosen one after
    the other that add the most to ``sum_u max_(v kept) cos(f_u, f_v)``, facility location as in SCOPE and MMTok. Of
    no paper: `unlike-mean` alone drops a picture's ground first, and with it what is asked about that. It reads neither
    text nor attention. The default of `top` was chosen on validation questions of the generated world.

    Attributes:
        r: fraction dropped, 0 <= r < 1.
        k: layers that run before the cut; 0 for none.
        top: share of the kept that stand out, 0 <= top <= 1; with 1 it is `unlike-mean`.

    Raises:
        VisionFlowError: a field is out of range.
    """

    name: ClassVar[str] = "cover"

    r: float
    k: int = 0
    top: float = 0.75

    def __post_init__(self) -> None:
        check_ratio("r", self.r)
        check_layer("k", self.k, least=0)
        if not 0 <= self.top <= 1:
            raise VisionFlowError(f"top is a share from 0 to 1, not {self.top}")

    def cuts(self) -> tuple[Cut, ...]:
        """One cut, on one cosine per token and on all pairs of tokens."""
        return (Cut(self.k, Ratio(self.r), Features("image", AwayFromMean()), TopThenCoverage(self.top)),)
