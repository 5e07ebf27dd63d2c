"""How deep a decoder is, and in which of its layers tokens attend to each other."""

from collections.abc import Collection
from typing import Any, Self


class Depth(int):
    """A number of decoder layers that knows which of them attend: a plain int wherever a depth is asked for.

    Attributes:
        attending: the layers with attention; in others a convolution, a recurrence or nothing stands in its place.
    """

    attending: tuple[int, ...]

    def __new__(cls, layers: int, attending: Collection[int]) -> Self:
        """So many layers."""
        depth = super().__new__(cls, layers)
        depth.attending = tuple(sorted(attending))
        return depth

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (int(self), self.attending)


def attending_of(num_layers: int) -> tuple[int, ...]:
    """The layers with attention; of a plain int all."""
    return num_layers.attending if isinstance(num_layers, Depth) else tuple(range(num_layers))


def listed(layers: Collection[int]) -> str:
    """Layers for people; of many the first few."""
    shown = ", ".join(map(str, sorted(layers)[:12]))
    return f"{shown}, ..." if len(layers) > 12 else shown
