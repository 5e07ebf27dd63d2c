"""SCOPE: "Saliency-Coverage Oriented Token Pruning for Efficient Multimodal LLMs" (NeurIPS 2025)."""

from dataclasses import dataclass
from typing import ClassVar

from visionflow.core.coverage import Coverage
from visionflow.core.evidence import Both, Features, Tower
from visionflow.core.keep import Ratio
from visionflow.core.plan import Cut, Positions
from visionflow.core.towers import TowerRows
from visionflow.errors import VisionFlowError
from visionflow.methods.base import Method, check_ratio


@dataclass(frozen=True)
class SCOPE(Method):
    """Drop the fraction `r` of the image tokens before the first layer: those that stay cover what is salient.

    With f the projected picture features ``[n, width]`` in fp32, as they enter layer 0, and s what the vision tower's
    class token reads of each: the token of the largest ``s_i^alpha sum_u max(0, cos(f_u, f_i) - c_u)`` is chosen, one
    after the other, c_u being the largest cosine of u to a chosen one, at first 0.

    Written from the paper, whose code has no licence. For LLaVA it compares the tower's hidden states; here, as in
    AngelSlim's port for Qwen2.5-VL, what enters the language model is compared. It closes up positions:
    ``positions="compact"``.

    Attributes:
        r: fraction dropped, 0 <= r < 1.
        alpha: power of the saliency; 1 in the paper, 0 for coverage alone.
        rows: "cls", what the class token reads of the patches; "received", what the patches read of each other, for
            towers without one (docs/families.md says which).
        positions: "keep" those of the prompt (as GAP advises, arXiv:2506.21873), or "compact", numbered anew after each
            cut, as published; for text models of one position a token (llama, mistral, qwen2, qwen3).

    Raises:
        VisionFlowError: a field is out of range.
    """

    name: ClassVar[str] = "scope"

    r: float
    alpha: float = 1.0
    rows: TowerRows = "cls"
    positions: Positions = "keep"

    def __post_init__(self) -> None:
        check_ratio("r", self.r)
        if isinstance(self.alpha, bool) or not isinstance(self.alpha, int | float) or not 0 <= self.alpha < 100:
            raise VisionFlowError(f"alpha must be at least 0 and below 100, not {self.alpha!r}")
        self.plan()

    def cuts(self) -> tuple[Cut, ...]:
        """One cut, before the first layer; a set is chosen."""
        return (Cut(0, Ratio(self.r), Both(Tower(self.rows), Features("image")), Coverage(self.alpha)),)
