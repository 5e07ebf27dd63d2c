"""PyramidDrop: "... via Pyramid Visual Redundancy Reduction" (Xing et al., CVPR 2025)."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from visionflow.core.evidence import Attention
from visionflow.core.keep import Ratio
from visionflow.core.plan import Cut, Positions
from visionflow.errors import VisionFlowError
from visionflow.methods.base import Method, check_layer, check_ratio


@dataclass(frozen=True)
class PyramidDrop(Method):
    """Drop the fraction `r` of the image tokens left before each of `layers`: those the last prompt token reads least.

    With A the attention of layer k averaged over heads in fp32, on the tokens that are about to enter that layer
    (``when="entry"``, as published; its queries and keys are computed once more for it): ``phi(v) = A[last, v]``.
    ``when="ran"`` takes the attention of layer k-1, which is at hand, as FastV does.

    The released code keeps ``int(fraction * n)`` of the n given, so one token less where these are odd; it numbers the
    tokens that stay anew at each cut, so that a generated token has another position in each group of layers, where
    here all keep theirs; and it takes batches only with padding on the right and one picture a sample.

    Attributes:
        layers: layers that run before each cut, increasing; 8, 16 and 24 of 32 in the paper.
        r: fraction dropped at each, 0 <= r < 1.
        when: decided by the layer that is about to run ("entry", the paper) or by the one that has run ("ran").
        positions: "keep" those of the prompt (as GAP advises, arXiv:2506.21873), or "compact", numbered anew after each
            cut, as published; for text models of one position a token (llama, mistral, qwen2, qwen3).

    Raises:
        VisionFlowError: a field is out of range.
    """

    name: ClassVar[str] = "pyramiddrop"
    always_said: ClassVar[tuple[str, ...]] = ("layers",)

    layers: tuple[int, ...] = (8, 16, 24)
    r: float = 0.5
    when: Literal["entry", "ran"] = "entry"
    positions: Positions = "keep"

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        for layer in self.layers:
            check_layer("each of layers", layer, least=int(self.when == "ran"))
        if not self.layers or list(self.layers) != sorted(set(self.layers)):
            raise VisionFlowError(f"layers must be increasing, at least one, not {self.layers}")
        if self.when not in ("entry", "ran"):
            raise VisionFlowError(f"when is 'entry' or 'ran', not {self.when!r}")
        check_ratio("r", self.r)
        self.plan()

    def cuts(self) -> tuple[Cut, ...]:
        """A cut before each layer, decided by one row of attention."""
        return tuple(Cut(layer, Ratio(self.r), Attention("last", when=self.when)) for layer in self.layers)

    @classmethod
    def defaults(cls, num_layers: int, model: str = "") -> dict[str, Any]:
        """A quarter, a half and three quarters of the layers, as 8, 16 and 24 of LLaVA-1.5-7B's 32."""
        return {"layers": tuple(sorted({max(1, num_layers * quarter // 4) for quarter in (1, 2, 3)}))}
