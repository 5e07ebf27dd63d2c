"""FastV: "An Image is Worth 1/2 Tokens After Layer 2" (Chen et al., ECCV 2024)."""

from dataclasses import dataclass
from typing import ClassVar

from visionflow.core.evidence import Attention
from visionflow.core.keep import Ratio
from visionflow.core.plan import Cut
from visionflow.methods.base import Method, check_layer, check_ratio


@dataclass(frozen=True)
class FastV(Method):
    """Drop the fraction `r` of the image tokens before layer `k`: those the last prompt token reads least.

    With A the attention of layer k-1 averaged over heads in fp32: ``phi(v) = A[last, v]``.

    The released code counts the tokens kept (``fast_v_attention_rank``) or the ratio, and has four variants. The
    selection is made once, in the prefill; without a KV cache (``use_cache=False``) each generated token is a prompt of
    its own, and the selection is made anew, there as here.

    Attributes:
        k: layers that run before the cut; at least 1.
        r: fraction dropped, 0 <= r < 1.

    Raises:
        VisionFlowError: a field is out of range.
    """

    name: ClassVar[str] = "fastv"

    k: int
    r: float

    def __post_init__(self) -> None:
        check_layer("k", self.k)
        check_ratio("r", self.r)

    def cuts(self) -> tuple[Cut, ...]:
        """One cut, decided by one row of attention."""
        return (Cut(self.k, Ratio(self.r), Attention("last")),)
