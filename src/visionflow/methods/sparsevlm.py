"""SparseVLM: "Visual Token Sparsification for Efficient Vision-Language Model Inference" (Zhang et al., ICML 2025)."""

from dataclasses import dataclass
from typing import Any, ClassVar

from visionflow.core.evidence import Attention, Both, Features
from visionflow.core.feature_scores import Raters
from visionflow.core.keep import Ratio
from visionflow.core.merging import Recycled
from visionflow.core.plan import Cut, Positions
from visionflow.methods.base import Method, check_schedule


@dataclass(frozen=True)
class SparseVLM(Method):
    """Drop fractions of the image tokens left before each of `layers`, those that raters read least; recycle the best.

    Raters are the text tokens t after the first picture with at least the mean weight ``mean_v softmax_t(v t^T)``, v
    and t as they enter layer 0. With A the attention of layer k-1 averaged over heads in fp32, ``phi(v)`` is the mean
    of ``A[t, v]`` over the raters. Of the tokens that go, the best 30 % are clustered by density peaks on the hidden
    states that enter layer k, and each cluster becomes its mean, in the place of its centre.

    The defaults leave 309, 204 and 113 tokens of 576, as the released code (v1.5) for "192 tokens", which is 206 on
    average over what layers are given; for "128" ``ratios=0.4584+0.625+0.6667`` leaves 312, 117 and 39, for "64"
    ``ratios=0.8577+0.6098+0.4375`` 82, 32 and 18. There clusters come after the other image tokens, positions close up,
    and random noise decides ties. The paper's counts by the rank of A are not in that code for images, and not here.

    Attributes:
        layers: layers that run before each cut, increasing; 3, 7 and 16 of 32 in the released code.
        ratios: fraction dropped at each, 0 <= r < 1 (cluster centres are kept).
        recycle: cluster the best of those that go; else they are dropped.
        positions: "keep" those of the prompt (as GAP advises, arXiv:2506.21873), or "compact", numbered anew after each
            cut, as published; for text models of one position a token (llama, mistral, qwen2, qwen3).

    Raises:
        VisionFlowError: a field is out of range.
    """

    name: ClassVar[str] = "sparsevlm"
    always_said: ClassVar[tuple[str, ...]] = ("layers",)

    layers: tuple[int, ...] = (3, 7, 16)
    ratios: tuple[float, ...] = (0.4636, 0.34, 0.4461)
    recycle: bool = True
    positions: Positions = "keep"

    def __post_init__(self) -> None:
        check_schedule(self.layers, self.ratios)
        self.plan()

    def cuts(self) -> tuple[Cut, ...]:
        """A cut before each layer, decided by some rows of the layer before it."""
        read = Attention("instruction", weigh=Raters())
        if not self.recycle:
            return tuple(Cut(layer, Ratio(r), read) for layer, r in zip(self.layers, self.ratios, strict=True))
        both = Both(read, Features("hidden"))
        return tuple(Cut(layer, Ratio(r), both, Recycled()) for layer, r in zip(self.layers, self.ratios, strict=True))

    @classmethod
    def defaults(cls, num_layers: int, model: str = "") -> dict[str, Any]:
        """The same shares of the depth as 3, 7 and 16 of LLaVA-1.5-7B's 32."""
        first = max(1, num_layers * 3 // 32)
        second = max(first + 1, num_layers * 7 // 32)
        return {"layers": (first, second, max(second + 1, num_layers // 2))}
