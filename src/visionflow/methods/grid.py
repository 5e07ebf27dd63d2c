"""A uniform grid: the control that looks at nothing and draws nothing."""

from dataclasses import dataclass
from typing import ClassVar

from visionflow.core.evidence import Nothing
from visionflow.core.keep import Ratio
from visionflow.core.plan import Cut
from visionflow.core.selection import Spaced
from visionflow.methods.base import Method, check_layer, check_ratio


@dataclass(frozen=True)
class Grid(Method):
    """Drop the fraction `r` of the image tokens before layer `k`: of n, K evenly spaced ones in prompt order stay.

    Number ``floor((i + 1/2) n / K)`` stays, for i from 0 to K-1: in a picture that is given row by row, a grid where K
    goes into n. Several pictures of a sample get shares as their sizes are. What a method that looks has to beat.

    Attributes:
        r: fraction dropped, 0 <= r < 1.
        k: layers that run before the cut; 0 for none.

    Raises:
        VisionFlowError: a field is out of range.
    """

    name: ClassVar[str] = "grid"

    r: float
    k: int = 0

    def __post_init__(self) -> None:
        check_ratio("r", self.r)
        check_layer("k", self.k, least=0)

    def cuts(self) -> tuple[Cut, ...]:
        """One cut, on places alone."""
        return (Cut(self.k, Ratio(self.r), Nothing(), Spaced()),)
