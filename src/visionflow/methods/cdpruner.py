"""CDPruner: "Beyond Attention or Similarity: Maximizing Conditional Diversity ..." (Zhang et al., NeurIPS 2025)."""

from dataclasses import dataclass
from typing import ClassVar

from visionflow.core.evidence import Features
from visionflow.core.feature_scores import LikeText
from visionflow.core.greedy import Dpp
from visionflow.core.keep import Ratio
from visionflow.core.plan import Cut, Positions
from visionflow.methods.base import Method, check_layer, check_ratio


@dataclass(frozen=True)
class CDPruner(Method):
    """Drop the fraction `r` of the image tokens before layer `k`: those that stay are relevant and unlike each other.

    With f the projected picture features ``[n, width]`` and t the embeddings ``[m, width]`` of the text after the first
    picture, both in fp32 as they enter layer 0: the relevance ``s_i`` is the mean of ``cos(f_i, t_j)`` over j, scaled
    to 0 to 1 in each sample, and K tokens are chosen greedily that enlarge the determinant of
    ``s_i cos(f_i, f_j) s_j`` the most (a determinantal point process).

    This is the paper's variant for models like Qwen2.5-VL, the one that needs no other model: for LLaVA-1.5 it takes
    relevance, negated, from CLIP's text tower and projection, which a LLaVA checkpoint does not have. The text here is
    all that follows the picture, with the template; there the question alone. The released code scales relevance over
    the whole batch; and it numbers the kept tokens from 0 on: ``positions="compact"``. The paper's settings for 576
    tokens are 0.778, 0.889 and 0.944.

    Attributes:
        r: fraction dropped, 0 <= r < 1.
        k: layers that run before the cut; 0, none, in the paper.
        negated: keep what is unlike the text, as the paper does with CLIP's features.
        positions: "keep" those of the prompt (as GAP advises, arXiv:2506.21873), or "compact", numbered anew after each
            cut, as published; for text models of one position a token (llama, mistral, qwen2, qwen3).

    Raises:
        VisionFlowError: a field is out of range.
    """

    name: ClassVar[str] = "cdpruner"

    r: float
    k: int = 0
    negated: bool = False
    positions: Positions = "keep"

    def __post_init__(self) -> None:
        check_ratio("r", self.r)
        check_layer("k", self.k, least=0)
        self.plan()

    def cuts(self) -> tuple[Cut, ...]:
        """One cut, on features and how like the text they are; a set is chosen."""
        return (Cut(self.k, Ratio(self.r), Features("image", LikeText(self.negated)), Dpp()),)
