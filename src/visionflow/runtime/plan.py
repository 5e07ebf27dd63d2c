"""What the runtime is asked to do: drop tokens before some layers (on evidence or without), block flows in others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from visionflow.errors import UnsupportedUsageError
from visionflow.runtime.attention import AttentionRows
from visionflow.runtime.layer import LayerAttention
from visionflow.runtime.tokens import GroupName, Tokens

Selection = GroupName | Callable[[Tokens], Tensor]
"""Some of the tokens present: a group, or a function that gives bool ``[batch, tokens]``."""

BlockMode = Literal["renormalise", "zero"]


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
    """In each of `layers`, no token of `target` may read the keys of `source`.

    ``Block(range(5), source="image", target="instruction")`` cuts the visual-textual flow of five layers.

    Attributes:
        layers: 0-based decoder layers, exactly these.
        source: prompt tokens whose keys are not to be read.
        target: prompt tokens that may not read them; generated tokens read on (see `Withhold`).
        mode: "renormalise" takes the pairs away before the softmax, so the rest of the row grows; "zero" sets their
            attention to zero after it, so the row sums to less than one.
    """

    layers: Sequence[int]
    source: Selection
    target: Selection
    mode: BlockMode = "renormalise"


@dataclass(frozen=True)
class Withhold:
    """In each of `layers`, no token after the prompt reads the keys of `source`: as if the cache did not hold them."""

    layers: Sequence[int]
    source: Selection


@dataclass(frozen=True)
class Watch:
    """`look` sees the attention of each of `layers` just after it has run on a prompt, gradients and all."""

    layers: Sequence[int]
    look: Callable[[LayerAttention], None]


@dataclass(frozen=True)
class Plan:
    """Cuts in layer order, and what is blocked, withheld and watched: all that a scope does to a model.

    Raises:
        UnsupportedUsageError: on construction, when a cut is before layer 1 or two cuts share a layer.
    """

    cuts: tuple[Cut, ...] = ()
    blocks: tuple[Block, ...] = ()
    withheld: tuple[Withhold, ...] = ()
    watches: tuple[Watch, ...] = ()

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
        named: tuple[Block | Withhold | Watch, ...] = (*self.blocks, *self.withheld, *self.watches)
        for part in named:
            if any(not 0 <= layer < num_layers for layer in part.layers):
                raise UnsupportedUsageError(
                    f"a {type(part).__name__.lower()} names layers {list(part.layers)}, "
                    f"the model has decoder layers 0 to {num_layers - 1}"
                )

    def attended_layers(self) -> set[int]:
        """The layers whose attention itself is looked at or altered; all others run as they are."""
        probed = {cut.layer - 1 for cut in self.cuts if cut.probe is not None}
        zeroed = {layer for block in self.blocks if block.mode == "zero" for layer in block.layers}
        return probed | zeroed | {layer for watch in self.watches for layer in watch.layers}

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
