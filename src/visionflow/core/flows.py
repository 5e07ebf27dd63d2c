"""What a plan does besides cuts: flows that are blocked, keys that are withheld from the answer, layers watched."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from visionflow.core.forms import Form
from visionflow.core.layer import LayerAttention
from visionflow.core.tokens import SPANS, Selection
from visionflow.errors import UnsupportedUsageError

BlockMode = Literal["renormalise", "skip", "zero", "fold"]


@dataclass(frozen=True)
class Block(Form):
    """In each of `layers`, no token of `target` may read the keys of `source`.

    ``Block(range(5), source="image", target="instruction")`` cuts the visual-textual flow of five layers.

    Attributes:
        layers: 0-based decoder layers, exactly these.
        source: prompt tokens whose keys are not to be read.
        target: prompt tokens that may not read them; generated tokens read on (see `Withhold`).
        mode: "renormalise" takes the pairs away before the softmax, so the rest of the row grows; "skip" is the same
            and leaves the pairs uncomputed (image to system, image or instruction only); "zero" sets their attention to
            zero after the softmax, so the row sums to less than one; "fold" gives it to the first token of `source`.
    """

    layers: Sequence[int]
    source: Selection
    target: Selection
    mode: BlockMode = "renormalise"

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        if self.mode == "skip" and not (self.source == "image" and self.target in SPANS):
            raise UnsupportedUsageError(
                "only what the system, image or instruction tokens read of the image can be skipped: "
                "use mode='renormalise'"
            )


@dataclass(frozen=True)
class Withhold(Form):
    """In each of `layers`, no token after the prompt reads the keys of `source`: the cache does not hold them."""

    layers: Sequence[int]
    source: Selection

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))


@dataclass(frozen=True)
class Watch(Form):
    """`see` gets the attention of each of `layers` just after it has run on a prompt, gradients and all.

    For analyses: a plan with a watch does not travel.
    """

    layers: Sequence[int]
    see: Callable[[LayerAttention], None]

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
