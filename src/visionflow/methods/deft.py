"""DeFT: vision selects before the language model, text selects again at half of its depth (KAIST, 2026)."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from visionflow.core.evidence import Attention, Tower
from visionflow.core.keep import Ratio
from visionflow.core.plan import Cut
from visionflow.core.reductions import ReceivedAfter
from visionflow.core.towers import TowerRows
from visionflow.methods.base import Method, check_layer, check_range, check_ratio


@dataclass(frozen=True)
class DeFT(Method):
    """Drop ``(1 - alpha) r`` of the image tokens before the first layer, by the tower, and up to `r` before layer `k`.

    First the vision tower scores: what its class token reads of the patches, or what they read of each other. Then, A
    being the attention of layer k on the tokens that are about to enter it, averaged over heads in fp32, and I the text
    after the picture: ``phi(v) = sum_{i in I} A[i, v]``.

    Written from the paper; its code was not at hand. Of n tokens K stay in the end, and until layer k there are
    ``K + ceil(alpha (n - K))``, ours to within one. The average over the layers lies between: compare methods at that,
    not at K. For LLaVA-1.5-7B 149 of 576 in the end (``r=0.7413``) is 192 on average.

    Attributes:
        r: fraction dropped, 0 <= r < 1.
        k: layers that run before the second cut; half of them in the paper.
        alpha: of those that go in the end, the fraction that stays until layer k; 0 <= alpha <= 1.
        rows: "cls", what the class token reads of the patches; "received", what the patches read of each other, for
            towers without one (docs/families.md says which).
        when: decided by the layer that is about to run ("entry", the paper) or by the one that has run ("ran").

    Raises:
        VisionFlowError: a field is out of range.
    """

    name: ClassVar[str] = "deft"
    always_said: ClassVar[tuple[str, ...]] = ("k",)

    r: float
    k: int = 16
    alpha: float = 0.2
    rows: TowerRows = "cls"
    when: Literal["entry", "ran"] = "entry"

    def __post_init__(self) -> None:
        check_ratio("r", self.r)
        check_layer("k", self.k)
        check_range("alpha", self.alpha, 0, 1)
        self.cuts()

    def cuts(self) -> tuple[Cut, ...]:
        """A cut by the tower, and one by the text."""
        first = (1 - self.alpha) * self.r
        text = Attention("instruction", ReceivedAfter(), when=self.when)
        return (Cut(0, Ratio(first), Tower(self.rows)), Cut(self.k, Ratio(self.alpha * self.r / (1 - first)), text))

    @classmethod
    def defaults(cls, num_layers: int, model: str = "") -> dict[str, Any]:
        """Half of the layers."""
        return {**super().defaults(num_layers, model), "k": max(1, num_layers // 2)}
