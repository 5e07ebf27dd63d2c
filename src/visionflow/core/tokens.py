"""Token spans, found from the input ids: system, image and instruction tokens of each sample, and padding.

Any number of pictures, anywhere in the prompt, a different number in each sample, none: nothing is assumed of lengths.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor

from visionflow.errors import UnsupportedUsageError

GroupName = Literal["system", "image", "instruction", "last"]

SPANS: tuple[GroupName, ...] = ("system", "image", "instruction")
"""The groups that a prompt falls into."""

GROUPS = ("system", "image", "instruction", "last", "answer")
"""All groups of tokens, in the order of `Tokens`."""


@dataclass(frozen=True)
class Group:
    """A set of tokens per sample, with its sizes known on the host.

    Attributes:
        mask: bool ``[batch, tokens]``.
        counts: number of True entries of each row.
    """

    mask: Tensor
    counts: tuple[int, ...]

    def index(self) -> tuple[Tensor, Tensor]:
        """Places of the members, ``[batch, max(counts)]`` in prompt order, padded on the left; and which are real."""
        return pack(self.mask, max(self.counts))

    def to(self, device: torch.device) -> "Group":
        """The group on another device."""
        return replace(self, mask=self.mask.to(device))


@dataclass(frozen=True)
class Tokens:
    """The prompt tokens that are present at some layer.

    Attributes:
        input_ids: int64 ``[batch, tokens]``.
        columns: int64 ``[batch, tokens]``, place of each token in the sequence as it was given, padding included.
        valid: bool ``[batch, tokens]``, False for padding.
        system: valid tokens before the first picture (all of them where there is none).
        image: image tokens.
        instruction: valid tokens after the first image token that are not image tokens, template tokens included.
        last: the last valid token of the prompt.
        answer: valid tokens after the prompt, where an answer is read together with it; they are no evidence.
    """

    input_ids: Tensor
    columns: Tensor
    valid: Tensor
    system: Group
    image: Group
    instruction: Group
    last: Group
    answer: Group

    def group(self, name: GroupName) -> Group:
        """The group called `name`."""
        group: Group = getattr(self, name)
        return group

    def lengths(self) -> tuple[int, ...]:
        """Number of tokens of each sample, padding not counted."""
        groups = (*(self.group(name) for name in SPANS), self.answer)
        return tuple(map(sum, zip(*(group.counts for group in groups), strict=True)))

    @property
    def full(self) -> bool:
        """There is neither padding nor a filler in any sample."""
        return set(self.lengths()) == {self.columns.shape[1]}

    def take(self, index: Tensor, real: Tensor, image_counts: tuple[int, ...]) -> "Tokens":
        """The tokens at `index` ``[batch, fewer]`` (`real` is False for fillers), with fewer image tokens."""
        groups: dict[str, Group] = {name: getattr(self, name) for name in GROUPS}
        masks = torch.stack([self.valid, *(group.mask for group in groups.values())])
        valid, *members = (masks.gather(2, index.expand(len(masks), -1, -1)) & real).unbind()
        left = [Group(mask, group.counts) for mask, group in zip(members, groups.values(), strict=True)]
        taken = Tokens(self.input_ids.gather(1, index), self.columns.gather(1, index), valid, *left)
        return replace(taken, image=replace(taken.image, counts=image_counts))

    def to(self, device: torch.device) -> "Tokens":
        """The tokens on another device (layers of one model may live on several)."""
        if self.columns.device == device:
            return self
        return Tokens(**{name: value.to(device) for name, value in vars(self).items()})


Selection = GroupName | Callable[[Tokens], Tensor]
"""Some of the tokens present: a group, or a function that gives bool ``[batch, tokens]``."""


def find_tokens(
    input_ids: Tensor,
    attention_mask: Tensor | None,
    image_token_ids: Sequence[int] | int | None,
    past: int = 0,
    answer_tokens: int = 0,
) -> Tokens:
    """The spans of a prompt; its one read from the device is that of the counts.

    Args:
        input_ids: int ``[batch, tokens]``.
        attention_mask: ``[batch, past + tokens]``, 0 for padding; None for no padding.
        image_token_ids: ids of the placeholders; None when no picture comes with these ids.
        past: number of columns already in the KV cache.
        answer_tokens: how many of the last columns are of an answer that is read together with the prompt.

    Raises:
        UnsupportedUsageError: the attention mask is not 2-D.
    """
    batch, length = input_ids.shape
    if attention_mask is None:
        valid = torch.ones_like(input_ids, dtype=torch.bool)
    elif attention_mask.dim() == 2:
        valid = attention_mask[:, -length:].bool().to(input_ids.device)
    else:
        raise UnsupportedUsageError(
            f"a {attention_mask.dim()}-D attention mask does not tell padding from tokens: pass the 2-D one"
        )
    prompt = valid & (torch.arange(length, device=valid.device) < length - answer_tokens) if answer_tokens else valid
    image = prompt & _is_one_of(input_ids, image_token_ids)
    from_image = prompt & (image.cumsum(1) > 0)
    place = prompt.cumsum(1)
    last = prompt & (place == place[:, -1:])
    masks = torch.stack(
        [prompt ^ from_image, image, from_image ^ image, last, valid ^ prompt]
    )  # in the order of GROUPS
    groups = [Group(mask, tuple(n)) for mask, n in zip(masks.unbind(), masks.sum(2).tolist(), strict=True)]
    columns = torch.arange(past, past + length, device=input_ids.device).expand(batch, -1)
    return Tokens(input_ids, columns, valid, *groups)


def _is_one_of(input_ids: Tensor, those: Sequence[int] | int | None) -> Tensor:
    """Bool of the same shape."""
    found = [input_ids == each for each in ((those,) if isinstance(those, int) else those or ())]
    return torch.zeros_like(input_ids, dtype=torch.bool) if not found else reduce(torch.logical_or, found)


def per_sample(values: Sequence[float], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Numbers that the host knows as ``[batch, 1]``, without the wait for the device that a copy would be.

    Args:
        dtype: int64 for whole numbers where it is not given.
    """
    runs = [(value, len(list(run))) for value, run in groupby(values)]
    parts = [torch.full((many, 1), value, device=device, dtype=dtype) for value, many in runs]
    return concatenated(parts, 0)


def concatenated(parts: Sequence[Tensor], dim: int) -> Tensor:
    """The parts one after the other; a single one is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim)


def pack(mask: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Places of the True entries of each row, in order, filled up on the left to `width`.

    Args:
        mask: bool ``[batch, tokens]`` with at most `width` True entries in a row.

    Returns:
        int64 ``[batch, width]`` places, and bool ``[batch, width]``: False for fillers, which point at False entries.
    """
    members, order = mask.view(torch.uint8).sort(dim=1, stable=True)  # not every device sorts bool
    first = mask.shape[1] - width
    return order[:, first:], members[:, first:].view(torch.bool)
