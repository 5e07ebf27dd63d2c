"""What a prefill has to do, in counts known on the host: the cost model is a function of these alone."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Literal

Vectors = Literal["hidden", "key", "tower"]


@dataclass(frozen=True)
class Probed:
    """One probe of the attention of a layer that decides what stays.

    Attributes:
        layer: the layer looked at.
        rows: its query rows.
        products: products of these rows with all keys or values: 1 for their attention weights.
        projected: tokens whose queries, keys and values are computed once more, before the layer runs.
    """

    layer: int
    rows: int
    products: int = 1
    projected: int = 0


@dataclass(frozen=True)
class Compared:
    """Products of features that a choice took.

    Attributes:
        layer: the layer of the cut.
        pairs: products of two vectors.
        of: their width: that of "hidden" states, of the "key"s of all heads, or of a key of the "tower", the mean over
            heads.
    """

    layer: int
    pairs: int
    of: Vectors = "hidden"


@dataclass(frozen=True)
class Work:
    """What one sample, or one place in a batch, goes through, layer by layer.

    Attributes:
        lengths: tokens that the layer runs.
        pairs: query-key pairs that its attention computes, those above the diagonal included.
        cached: prompt tokens whose keys and values its cache holds afterwards.
        given: tokens that came in, before any cut.
        probes: what was looked at besides.
        blocked: layers in which image tokens do not read each other, and none of these pairs is computed.
        compared: what choices among features took.
    """

    lengths: Sequence[int]
    pairs: Sequence[int]
    cached: Sequence[int]
    given: int
    probes: Sequence[Probed] = ()
    blocked: Set[int] = frozenset()
    compared: Sequence[Compared] = ()

    @classmethod
    def plain(cls, lengths: Sequence[int], probes: Sequence[Probed] = ()) -> "Work":
        """Every row reads every key, and all are cached."""
        return cls(lengths, [n * n for n in lengths], lengths, lengths[0], probes)
