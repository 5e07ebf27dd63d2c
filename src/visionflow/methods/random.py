"""Random pruning: the speed ceiling and the accuracy floor that every table needs."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from visionflow.methods.base import Method, check_layer, check_ratio, keep_ratio
from visionflow.runtime.plan import Cut
from visionflow.runtime.tokens import Tokens


@dataclass(frozen=True)
class RandomPruning(Method):
    """Drop the fraction `r` of the image tokens before layer `k`, at random: no probe, so nothing is faster.

    The draw is a hash of the seed, the prompt's token ids and the token's place in the prompt: another prompt gets
    another draw, the same prompt the same one, alone or in any batch, without a read from the device.

    Attributes:
        k: layers that run before the cut; at least 1.
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
        check_layer("k", self.k)
        check_ratio("r", self.r)

    def cuts(self) -> tuple[Cut, ...]:
        """One cut, on no evidence at all."""
        return (Cut(self.k, keep_ratio(self.r), score=self._draw),)

    def _draw(self, tokens: Tokens) -> Tensor:
        place = tokens.valid.cumsum(dim=1)
        prompt = (tokens.input_ids * place * tokens.valid).sum(dim=1, keepdim=True)
        mixed = _mix(_mix(_mix(torch.full_like(place, self.seed)) ^ prompt) ^ place)
        return (mixed >> 40).float()  # 24 bits: exact in fp32


def _mix(x: Tensor) -> Tensor:
    """The finaliser of splitmix64 on int64 tensors; multiplication wraps."""
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * -0x40A7B892E31B1A47
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * -0x6B2FB644ECCEEE15
    return x ^ ((x >> 31) & 0x1FFFFFFFF)
