"""Text rows: a cascade on what the text reads; the plainest method that looks, and the family that tuning searches."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from visionflow.core.evidence import Attention
from visionflow.core.keep import Ratio
from visionflow.core.plan import Cut
from visionflow.core.reductions import ReceivedAfter
from visionflow.methods.base import Method, check_schedule


@dataclass(frozen=True)
class TextRows(Method):
    """Drop fractions of the image tokens left before each of `layers`: those that the text after them reads least.

    With A the attention of layer k-1 averaged over heads in fp32 and I the text tokens after the picture:
    ``phi(v) = sum_{i in I} A[i, v]``, HiMAP's first criterion, at every cut.

    With `heads`, A is the weighted sum over heads: HAWK (Zhu et al., CVPR 2026) finds one weight for each offline, by
    how much is lost without that head, and cuts once, before the first layer: ``layers=0,when=entry``. It takes the
    products of queries and keys before rotary positions, and scales those of each head to length 1, in place of A.

    Attributes:
        layers: layers that run before each cut, increasing.
        ratios: fraction dropped at each, 0 <= r < 1.
        heads: a weight for each head, the same in every layer; none for their mean.
        when: decided by the layer that is about to run ("entry") or by the one that has run ("ran").

    Raises:
        VisionFlowError: a field is out of range.
    """

    name: ClassVar[str] = "text-rows"
    always_said: ClassVar[tuple[str, ...]] = ("layers",)

    layers: tuple[int, ...] = (4, 20)
    ratios: tuple[float, ...] = (0.5, 0.75)
    heads: tuple[float, ...] | None = None
    when: Literal["ran", "entry"] = "ran"

    def __post_init__(self) -> None:
        check_schedule(self.layers, self.ratios, least=int(self.when == "ran"))
        self.cuts()

    def cuts(self) -> tuple[Cut, ...]:
        """A cut before each layer, decided by the rows of the text."""
        text = Attention("instruction", ReceivedAfter(), self.heads or "mean", self.when)
        return tuple(Cut(layer, Ratio(r), text) for layer, r in zip(self.layers, self.ratios, strict=True))

    @classmethod
    def defaults(cls, num_layers: int, model: str = "") -> dict[str, Any]:
        """An eighth and five eighths of the layers, where a search put them in a small model of 8."""
        first = max(1, num_layers // 8)
        return {"layers": (first, max(first + 1, num_layers * 5 // 8))}
