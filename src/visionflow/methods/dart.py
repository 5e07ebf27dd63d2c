"""DART: "Stop Looking for Important Tokens in MLLMs: Duplication Matters More" (Wen et al., EMNLP 2025)."""

from dataclasses import dataclass
from typing import ClassVar

from visionflow.core.evidence import Both, Evidence, Features
from visionflow.core.feature_scores import Length
from visionflow.core.greedy import FarFromPivots
from visionflow.core.keep import Ratio
from visionflow.core.plan import Cut
from visionflow.methods.base import Method, check_layer, check_ratio


@dataclass(frozen=True)
class DART(Method):
    """Drop the fraction `r` of the image tokens before layer `k`: those that are most like a few pivots.

    Pivots are the image and the text tokens (after the first picture) with the largest L1 norm of their keys in layer
    k-1, after rotary positions, heads side by side; with h the hidden states ``[tokens, width]`` that enter layer k, in
    fp32, each pivot p in turn takes its share of the tokens left, those of the smallest ``cos(h_p, h_v)``. ``k=0``
    takes the norm of the embeddings in place of keys, as the variant of TensorRT-Edge-LLM.

    The L1 norm of a rotated key hangs on its position: without ``position_ids``, which `generate` makes, padding on the
    left of a batch may make others pivots. The released code puts h through the model's last norm first, which weighs
    channels; walks pivots in the order of a Python set, here the largest first and those of the image first; and keeps
    ``4 + 8 t`` tokens of a target of 8 t, where here the image pivots are among those kept. The paper's settings
    are 0.667, 0.778 and 0.889.

    Attributes:
        k: layers that run before the cut; 2 in the paper, 0 for before the first.
        r: fraction dropped, 0 <= r < 1.
        image_pivots, text_pivots: how many pivots; 4 and 4 in the paper.

    Raises:
        VisionFlowError: a field is out of range.
    """

    name: ClassVar[str] = "dart"

    k: int
    r: float
    image_pivots: int = 4
    text_pivots: int = 4

    def __post_init__(self) -> None:
        check_layer("k", self.k, least=0)
        check_ratio("r", self.r)
        check_layer("image_pivots", self.image_pivots)
        check_layer("text_pivots", self.text_pivots, least=0)

    def cuts(self) -> tuple[Cut, ...]:
        """One cut, on keys that make pivots and hidden states that are compared with them."""
        hidden: Evidence = Features("hidden", Length())
        evidence = Both(Features("key", Length()), Features("hidden")) if self.k else hidden
        return (Cut(self.k, Ratio(self.r), evidence, FarFromPivots(self.image_pivots, self.text_pivots)),)
