"""Random pruning: the speed ceiling and the accuracy floor that every table needs."""

from dataclasses import dataclass
from typing import ClassVar

from visionflow.core.evidence import Seeded
from visionflow.core.keep import Ratio
from visionflow.core.plan import Cut
from visionflow.methods.base import Method, check_layer, check_ratio, check_seed


@dataclass(frozen=True)
class RandomPruning(Method):
    """Drop the fraction `r` of the image tokens before layer `k`, at random: no probe, so nothing is faster.

    The draw is a hash of the seed, the prompt's token ids and the token's place in the prompt: another prompt gets
    another draw, the same prompt the same one, alone or in any batch, without a read from the device.

    Attributes:
        k: layers that run before the cut; 0 for none.
        r: fraction dropped, 0 <= r < 1.
        seed: another seed, another draw.

    Raises:
        VisionFlowError: a field is out of range.
    """

    name: ClassVar[str] = "random"

    k: int
    r: float
    seed: int = 0

    def __post_init__(self) -> None:
        check_layer("k", self.k, least=0)
        check_ratio("r", self.r)
        check_seed(self.seed)

    def cuts(self) -> tuple[Cut, ...]:
        """One cut, on no evidence at all."""
        return (Cut(self.k, Ratio(self.r), Seeded(self.seed)),)
