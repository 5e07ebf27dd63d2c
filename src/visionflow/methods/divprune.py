"""DivPrune: "Diversity-based Visual Token Pruning for Large Multimodal Models" (Alvar et al., CVPR 2025)."""

from dataclasses import dataclass
from typing import ClassVar

from visionflow.core.evidence import Features
from visionflow.core.greedy import MaxMin
from visionflow.core.keep import Ratio
from visionflow.core.plan import Cut, Positions
from visionflow.methods.base import Method, check_layer, check_ratio


@dataclass(frozen=True)
class DivPrune(Method):
    """Drop the fraction `r` of the image tokens before layer `k`: those that stay are as far apart as may be.

    With f the projected picture features ``[n, width]`` in fp32, as they enter layer 0, and the distance
    ``d(u, v) = 1 - cos(f_u, f_v)``: first the token whose nearest neighbour is farthest, then, until K are chosen, the
    one with the largest ``min d(u, v)`` to those chosen (the max-min diversity problem, greedily). Ties go to the
    first; tokens of all pictures of a sample are chosen among together.

    Written from the paper. It keeps ``round((1 - r) n)``, ours n - floor(r n); and the released code numbers the kept
    tokens from 0 on, as a shorter prompt: ``positions="compact"``.

    Attributes:
        r: fraction dropped, 0 <= r < 1; the paper's settings are 0.667, 0.778, 0.889 and 0.902.
        k: layers that run before the cut; 0, none, in the paper.
        positions: "keep" those of the prompt (as GAP advises, arXiv:2506.21873), or "compact", numbered anew after each
            cut, as published; for text models of one position a token (llama, mistral, qwen2, qwen3).

    Raises:
        VisionFlowError: a field is out of range.
    """

    name: ClassVar[str] = "divprune"

    r: float
    k: int = 0
    positions: Positions = "keep"

    def __post_init__(self) -> None:
        check_ratio("r", self.r)
        check_layer("k", self.k, least=0)
        self.plan()

    def cuts(self) -> tuple[Cut, ...]:
        """One cut, on features; a set is chosen."""
        return (Cut(self.k, Ratio(self.r), Features("image"), MaxMin()),)
