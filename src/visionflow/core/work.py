"""What a prefill has to do, in counts known on the host: the cost model is a function of these alone."""

from collections.abc import Sequence, Set
from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """One look at the attention of a layer that decides what stays.

    Attributes:
        layer: the layer looked at.
        rows: its query rows.
        products: products of these rows with all keys or values: 1 for their attention weights.
    """

    layer: int
    rows: int
    products: int = 1


@dataclass(frozen=True)
class Work:
    """What one sample, or one place in a batch, goes through, layer by layer.

    Attributes:
        rows: tokens that the layer runs.
        pairs: query-key pairs that its attention computes, those above the diagonal included.
        held: prompt tokens whose keys and values its cache holds afterwards.
        looks: what was looked at besides.
        blind: layers in which image tokens do not read each other, and none of these pairs is computed.
    """

    rows: Sequence[int]
    pairs: Sequence[int]
    held: Sequence[int]
    looks: Sequence[Look] = ()
    blind: Set[int] = frozenset()

    @classmethod
    def plain(cls, rows: Sequence[int], looks: Sequence[Look] = ()) -> "Work":
        """Every row reads every key, and all are held."""
        return cls(rows, [n * n for n in rows], rows, looks)
