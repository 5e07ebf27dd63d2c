"""Random scores that depend on the prompt and a seed alone: the same in any batch, without a read from the device."""

import torch
from torch import Tensor

from visionflow.core.tokens import Tokens


def draw(tokens: Tokens, seed: int) -> Tensor:
    """A hash of the seed, the prompt's token ids and each token's place in the prompt, padding not counted.

    Another prompt gets another draw, the same prompt the same one: alone, in any batch, padded on either side.

    Returns:
        fp32 ``[batch, tokens]``, of 24 bits.
    """
    place = tokens.valid.cumsum(dim=1)
    asked = tokens.valid & ~tokens.answer.mask
    prompt = (tokens.input_ids * place * asked).sum(dim=1, keepdim=True)
    mixed = _mix(_mix(_mix(torch.full_like(place, seed)) ^ prompt) ^ place)
    return (mixed >> 40).float()  # 24 bits: exact in fp32


def _mix(x: Tensor) -> Tensor:
    """The finaliser of splitmix64 on int64 tensors; multiplication wraps."""
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * -0x40A7B892E31B1A47
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * -0x6B2FB644ECCEEE15
    return x ^ ((x >> 31) & 0x1FFFFFFFF)
