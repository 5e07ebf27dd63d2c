"""Flex attention's block masks, whose rows and keys cannot be gathered: as bool pairs, and back."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, create_mask

from visionflow.engines.hf.memo import Memo
from visionflow.errors import UnsupportedUsageError


class Masks:
    """The masks of one forward pass where they can be gathered as they are."""

    def gatherable(self, mask: Any) -> Tensor | None:
        """The mask, to be shortened or looked at."""
        shown: Tensor | None = mask
        return shown

    def native(self, mask: Any) -> Any:
        """The mask as the attention function takes it."""
        return mask


class BlockMasks(Masks):
    """The masks of one forward pass as flex attention has them; made once for all layers that share them."""

    def __init__(self, memo: Memo) -> None:
        self._memo = memo

    def gatherable(self, mask: Any) -> Tensor | None:
        """Bool ``[batch, heads or 1, tokens, keys]``."""
        if not isinstance(mask, BlockMask):
            return super().gatherable(mask)
        pairs: Tensor = self._twin(mask, lambda: _pairs(mask))
        return pairs

    def native(self, mask: Any) -> Any:
        """A BlockMask.

        Raises:
            UnsupportedUsageError: there is no mask, and flex attention would not even be causal.
        """
        if isinstance(mask, BlockMask):
            return mask
        if mask is None:
            raise UnsupportedUsageError("flex attention got no mask: call model.set_attn_implementation('sdpa')")
        return self._twin(mask, lambda: _block_mask(mask))

    def _twin(self, mask: Any, make: Callable[[], Any]) -> Any:
        twin = self._memo.once((mask,), make)
        self._memo.pair(mask, twin)
        return twin


def _pairs(mask: BlockMask) -> Tensor:
    batch, heads, rows, keys = mask.shape
    return create_mask(mask.mask_mod, batch, heads, rows, keys, mask.kv_num_blocks.device)


def _block_mask(pairs: Tensor) -> BlockMask:
    batch, heads, rows, keys = pairs.shape

    def may_read(sample: Tensor, head: Tensor, row: Tensor, key: Tensor) -> Tensor:
        return pairs[sample, head if heads > 1 else 0, row, key]

    return create_block_mask(may_read, batch, heads if heads > 1 else None, rows, keys, pairs.device)
