"""VTW: "Boosting Multimodal Large Language Models with Visual Tokens Withdrawal" (Lin et al., AAAI 2025)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from visionflow.core.keep import Count
from visionflow.core.plan import Cut
from visionflow.methods.base import Method, check_layer


@dataclass(frozen=True)
class VTW(Method):
    """Withdraw all image tokens before layer `k`: no scores, no probe.

    The released code keeps its state in a module global, takes the image length of the last picture of the last sample,
    and works only where there is no attention mask.

    Attributes:
        k: layers that run before the withdrawal; 0 for none, so that the picture is never seen.

    Raises:
        VisionFlowError: `k` is out of range.
    """

    name: ClassVar[str] = "vtw"

    k: int

    def __post_init__(self) -> None:
        check_layer("k", self.k, least=0)

    def cuts(self) -> tuple[Cut, ...]:
        """One cut that keeps nothing."""
        return (Cut(self.k, Count(0)),)

    @classmethod
    def defaults(cls, num_layers: int, model: str = "") -> dict[str, Any]:
        """Half of the layers, as 16 of LLaVA-1.5-7B's 32."""
        return {"k": max(1, num_layers // 2)}

    @classmethod
    def bench_defaults(cls, num_layers: int) -> dict[str, Any]:
        """The paper's layer 16 itself, where there is one after it and they are not more than its model's 32."""
        return {"k": 16} if 16 < num_layers <= 32 else cls.defaults(num_layers)

    @classmethod
    def search(cls, model: Any, batches: Iterable[Mapping[str, Any]], threshold: float = 3e-3, first: int = 5) -> "VTW":
        """The earliest withdrawal that leaves the next token as it was; see `visionflow.tuning.withdrawal.search`."""
        from visionflow.tuning.withdrawal import search

        return search(model, batches, threshold, first)
