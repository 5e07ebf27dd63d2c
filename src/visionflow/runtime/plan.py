"""What the runtime is asked to do: drop tokens before some layers (on evidence or without), block flows in others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from visionflow.errors import UnsupportedUsageError
from visionflow.runtime.attention import AttentionRows
from visionflow.runtime.tokens import GroupName, Tokens


@dataclass(frozen=True)
class Probe:
    """Evidence from the attention of the layer just before a cut.

    Attributes:
        rows: the query rows that are looked at; only these are computed.
        reduce: turns them into one score per token of the prompt, ``[batch, tokens]`` in fp32.
    """

    rows: GroupName
    reduce: Callable[[AttentionRows], Tensor]


@dataclass(frozen=True)
class Cut:
    """Before decoder layer `layer` (0-based), keep the `count(n)` best of each sample's n image tokens.

    The count is, where it can be, a function of n alone, so that every length is known on the host before the forward
    pass and only *which* tokens stay depends on activations. Ties go to the token that comes first in the prompt.

    Attributes:
        layer: the first layer that sees the shorter sequence; at least 1.
        count: image tokens kept of n, equal to n where nothing is dropped; None to keep the tokens whose score is
            positive, however many, at the price of one read from the device.
        probe: scores from the attention of layer `layer - 1`, or None.
        score: scores from the tokens alone, ``[batch, tokens]``, where there is no probe; None where order is idle.
    """

    layer: int
    count: Callable[[int], int] | None
    probe: Probe | None = None
    score: Callable[[Tokens], Tensor] | None = None


@dataclass(frozen=True)
class Block:
    """In each of `layers`, no prompt token of group `target` may read the keys of group `source`.

    The pairs are removed before the softmax, so the rest of the row is renormalised. Generated tokens belong to no
    group. ``Block(range(5), source="image", target="instruction")`` cuts the visual-textual flow of five layers.
    """

    layers: Sequence[int]
    source: GroupName
    target: GroupName


@dataclass(frozen=True)
class Plan:
    """Cuts in layer order, and blocks: all that a pruning scope does to a model.

    Raises:
        UnsupportedUsageError: on construction, when a cut is before layer 1 or two cuts share a layer.
    """

    cuts: tuple[Cut, ...] = ()
    blocks: tuple[Block, ...] = ()

    def __post_init__(self) -> None:
        layers = [cut.layer for cut in self.cuts]
        if any(layer < 1 for layer in layers):
            raise UnsupportedUsageError("a cut needs at least one layer before it: use k >= 1")
        if layers != sorted(set(layers)):
            raise UnsupportedUsageError(f"cuts must be at increasing layers, not {layers}")

    def check_depth(self, num_layers: int) -> None:
        """Refuse a plan that names a layer the model does not have."""
        for cut in self.cuts:
            if cut.layer >= num_layers:
                raise UnsupportedUsageError(
                    f"the cut before layer {cut.layer} is beyond the model's {num_layers} decoder layers: "
                    f"use a k between 1 and {num_layers - 1}"
                )
        for block in self.blocks:
            if any(not 0 <= layer < num_layers for layer in block.layers):
                raise UnsupportedUsageError(
                    f"a block names layers {list(block.layers)}, the model has decoder layers 0 to {num_layers - 1}"
                )

    def image_tokens(self, image_tokens: int, num_layers: int) -> list[int]:
        """Image tokens in each layer for a prompt of `image_tokens`, a pure function of the counts.

        Raises:
            UnsupportedUsageError: a cut's count depends on activations.
        """
        counts = []
        cut_at = {cut.layer: cut for cut in self.cuts}
        for layer in range(num_layers):
            if layer in cut_at:
                count = cut_at[layer].count
                if count is None:
                    raise UnsupportedUsageError(
                        f"how many tokens stay at layer {layer} depends on the prompt: run it, and read the trace"
                    )
                image_tokens = count(image_tokens)
            counts.append(image_tokens)
        return counts
