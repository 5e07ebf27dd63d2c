"""FlowCut: "Rethinking Redundancy via Information Flow for Efficient VLMs" (Tong et al., NeurIPS 2025)."""

from dataclasses import dataclass
from typing import ClassVar

from visionflow.core.evidence import Tower
from visionflow.core.keep import Ratio
from visionflow.core.plan import Cut
from visionflow.methods.base import Method, check_ratio


@dataclass(frozen=True)
class FlowCut(Method):
    """Drop the fraction `r` of the image tokens before the first layer: by what flows through the tower's class token.

    In a layer of the vision tower, with A the attention of the class token and ``S_j = softmax_j(v_cls v_j)``, both
    averaged over heads in fp32, and v the values: ``s_j = (A_j / sum A + S_j / sum S) |mean_h v_j|_1``. A patch's score
    is that of the first layer, then at each layer the mean of what it was and s, up to the layer that is projected.

    The paper also drops patches inside the tower, every other layer, more the less even A is: that saves time in the
    tower, and later layers do not see what has gone. Here the tower runs whole and there is one cut. The embedded
    model's class token was never trained to tell anything.

    Attributes:
        r: fraction dropped, 0 <= r < 1.

    Raises:
        VisionFlowError: a field is out of range.
    """

    name: ClassVar[str] = "flowcut"

    r: float

    def __post_init__(self) -> None:
        check_ratio("r", self.r)

    def cuts(self) -> tuple[Cut, ...]:
        """One cut, before the first layer."""
        return (Cut(0, Ratio(self.r), Tower("flow")),)
