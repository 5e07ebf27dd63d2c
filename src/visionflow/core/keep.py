"""How many image tokens stay at a cut: where it can be, a function of their number alone."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from visionflow.core.forms import Form
from visionflow.errors import VisionFlowError


def share_of(share: float, n: int) -> int:
    """``floor(share n)`` of what both are in decimals: 0.29 * 100 is 28.999...96 in binary, and 29 here."""
    return math.floor(round(share * n, 9))


class Keep(Form, ABC):
    """How many stay of a sample's `n` image tokens; None where their scores say so."""

    @abstractmethod
    def __call__(self, n: int) -> int | None:
        """The number kept, from 0 to n."""


@dataclass(frozen=True)
class Ratio(Keep):
    """All but the fraction `r`: n - floor(r n), and at least one.

    Attributes:
        r: fraction dropped, 0 <= r < 1.

    Raises:
        VisionFlowError: `r` is out of range.
    """

    r: float

    def __post_init__(self) -> None:
        check_ratio("r", self.r)

    def __call__(self, n: int) -> int:
        """The number kept."""
        return min(n, max(1, n - share_of(self.r, n)))


@dataclass(frozen=True)
class Count(Keep):
    """At most `count`: all of fewer, none where it is 0."""

    count: int

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 0:
            raise VisionFlowError(f"the image tokens kept must be a whole number, at least 0, not {self.count!r}")

    def __call__(self, n: int) -> int:
        """The number kept."""
        return min(n, self.count)


@dataclass(frozen=True)
class Positive(Keep):
    """Those whose score is positive, however many, at the price of one read from the device."""

    def __call__(self, n: int) -> None:
        """Not known before the scores are."""
        return


def check_ratio(name: str, r: float) -> None:
    """Refuse an `r` outside [0, 1): it is the fraction of image tokens dropped."""
    if isinstance(r, bool) or not isinstance(r, int | float) or not 0 <= r < 1:
        raise VisionFlowError(f"{name} is the fraction of image tokens dropped: 0 <= {name} < 1, not {r!r}")
