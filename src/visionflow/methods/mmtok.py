"""MMTok: "Multimodal Coverage Maximization for Efficient Inference of VLMs" (ICLR 2026)."""

from dataclasses import dataclass
from typing import ClassVar

from visionflow.core.coverage import TextAndImageCoverage
from visionflow.core.evidence import Features
from visionflow.core.keep import Ratio
from visionflow.core.plan import Cut, Positions
from visionflow.methods.base import Method, check_layer, check_ratio


@dataclass(frozen=True)
class MMTok(Method):
    """Drop the fraction `r` of the image tokens before layer `k`: those that stay cover the text and the picture.

    With f the projected picture features ``[n, width]`` and t the embeddings ``[m, width]`` of the text after the first
    picture, in fp32 as they enter layer 0: rows ``softmax_j(cos(t_i, f_j) / 0.02) / m`` over half of the rows
    ``softmax_j(cos(f_i, f_j) / 0.2) / n``; tokens are chosen one after the other that add the most to the sum over rows
    of the largest entry in a chosen column.

    The paper compares pictures by the tower's features, here by the projected ones; it takes the question's key words
    alone, here all text that follows the picture; it closes up positions: ``positions="compact"``. The paper's settings
    are 0.667, 0.778 and 0.889.

    Attributes:
        r: fraction dropped, 0 <= r < 1.
        k: layers that run before the cut; 0, none, in the paper.
        positions: "keep" those of the prompt (as GAP advises, arXiv:2506.21873), or "compact", numbered anew after each
            cut, as published; for text models of one position a token (llama, mistral, qwen2, qwen3).

    Raises:
        VisionFlowError: a field is out of range.
    """

    name: ClassVar[str] = "mmtok"

    r: float
    k: int = 0
    positions: Positions = "keep"

    def __post_init__(self) -> None:
        check_ratio("r", self.r)
        check_layer("k", self.k, least=0)
        self.plan()

    def cuts(self) -> tuple[Cut, ...]:
        """One cut, on features of text and picture; a set is chosen."""
        return (Cut(self.k, Ratio(self.r), Features("image"), TextAndImageCoverage()),)
