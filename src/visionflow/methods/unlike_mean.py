"""Unlike the mean: the control for every method that says it knows what is worth keeping."""

from dataclasses import dataclass
from typing import ClassVar

from visionflow.core.evidence import Features
from visionflow.core.feature_scores import AwayFromMean
from visionflow.core.keep import Ratio
from visionflow.core.plan import Cut
from visionflow.methods.base import Method, check_layer, check_ratio


@dataclass(frozen=True)
class UnlikeMean(Method):
    """Drop the fraction `r` of the image tokens before layer `k`: those most like the mean image token of their sample.

    With f the projected picture features ``[n, width]`` in fp32, as they enter layer 0, and m their mean:
    ``phi(v) = -cos(f_v, m)``. It reads neither text nor attention.

    Attributes:
        r: fraction dropped, 0 <= r < 1.
        k: layers that run before the cut; 0 for none.

    Raises:
        VisionFlowError: a field is out of range.
    """

    name: ClassVar[str] = "unlike-mean"

    r: float
    k: int = 0

    def __post_init__(self) -> None:
        check_ratio("r", self.r)
        check_layer("k", self.k, least=0)

    def cuts(self) -> tuple[Cut, ...]:
        """One cut, on one cosine per token."""
        return (Cut(self.k, Ratio(self.r), Features("image", AwayFromMean())),)
