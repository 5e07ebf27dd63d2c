"""How a layer is run in which some groups do not read the picture: which rows against which keys, as counts."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from visionflow.core.tokens import SPANS, GroupName, Tokens


@dataclass(frozen=True)
class Reading:
    """Rows that are run together, and the keys they are run against."""

    rows: tuple[GroupName, ...]
    keys: tuple[GroupName, ...]

    def pairs(self, counts: Mapping[GroupName, int]) -> int:
        """Pairs that are computed for so many tokens of each group."""
        return sum(counts[name] for name in self.rows) * sum(counts[name] for name in self.keys)


def readings(blocked: Collection[GroupName]) -> list[Reading]:
    """How a layer is run when the groups `blocked` do not read the image."""
    without_image = tuple(name for name in SPANS if name in blocked)
    others = tuple(name for name in SPANS if name not in blocked)
    parts = Reading(without_image, ("system", "instruction")), Reading(others, SPANS)
    return [part for part in parts if part.rows]


def pairs_in_batch(tokens: Tokens, blocked: Collection[GroupName]) -> int:
    """Pairs that are computed for each place in the batch, fillers included."""
    return sum(_rows(tokens, reading) * width(tokens, reading.keys) for reading in readings(blocked))


def _rows(tokens: Tokens, reading: Reading) -> int:
    """Rows that are run: where all groups are run together, the padding is, too."""
    return tokens.columns.shape[1] if len(reading.rows) == len(SPANS) else width(tokens, reading.rows)


def pairs_of_sample(tokens: Tokens, blocked: Collection[GroupName], sample: int) -> int:
    """Pairs that would be computed for one sample alone."""
    counts = {name: tokens.group(name).counts[sample] for name in SPANS}
    return sum(reading.pairs(counts) for reading in readings(blocked))


def width(tokens: Tokens, names: tuple[GroupName, ...]) -> int:
    """The most tokens that a sample has in these groups."""
    return max(map(sum, zip(*(tokens.group(name).counts for name in names), strict=True)))
