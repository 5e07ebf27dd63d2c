"""What a method is: a small frozen dataclass that says where to cut, on which evidence, and what to block.

A new method is one file: subclass `Method`, give it a `name`, check its fields in `__post_init__`, return its cuts.
Add it to `METHODS` in `visionflow.methods` and every command, benchmark and test knows it.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import fields
from typing import ClassVar

from visionflow.core.plan import Block, Cut, Plan
from visionflow.errors import VisionFlowError


class Method(ABC):
    """A way to use fewer image tokens; subclasses are frozen dataclasses."""

    name: ClassVar[str]
    always_said: ClassVar[tuple[str, ...]] = ()
    """Fields that belong to one model each, so that even their defaults are said."""

    @abstractmethod
    def cuts(self) -> tuple[Cut, ...]:
        """Where tokens are dropped, in layer order."""

    def blocks(self) -> tuple[Block, ...]:
        """Which flows are blocked; none by default."""
        return ()

    def plan(self) -> Plan:
        """All that the runtime needs to know of this method."""
        return Plan(self.cuts(), self.blocks())

    def __str__(self) -> str:
        """The call that makes this method, without fields that have their default and are not `always_said`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        defaults = {field.name: field.default for field in fields(self)}  # type: ignore[arg-type]
        said = ", ".join(
            f"{name}={value!r}" for name, value in values.items() if value != defaults[name] or name in self.always_said
        )
        return f"{type(self).__name__}({said})"


def keep_ratio(r: float) -> Callable[[int], int]:
    """The count kept when the fraction `r` is dropped: n - floor(r n), and at least one of a picture's tokens."""

    def count(n: int) -> int:
        # 0.29 * 100 is 28.999...96 in binary: what is a whole number in decimals must floor to itself.
        return min(n, max(1, n - math.floor(round(r * n, 9))))

    return count


def check_layer(name: str, k: int) -> None:
    """Refuse a `k` that is not a whole number of layers, at least one."""
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise VisionFlowError(f"{name} must be a whole number of layers, at least 1, not {k!r}")


def check_seed(seed: int) -> None:
    """Refuse a `seed` that does not go into the 64 bits of a tensor's number."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not -(2**63) <= seed < 2**63:
        raise VisionFlowError(f"the seed must be a whole number, at least -2**63 and below 2**63, not {seed!r}")


def check_ratio(name: str, r: float) -> None:
    """Refuse an `r` outside [0, 1): it is the fraction of image tokens dropped."""
    if isinstance(r, bool) or not isinstance(r, int | float) or not 0 <= r < 1:
        raise VisionFlowError(f"{name} is the fraction of image tokens dropped: 0 <= {name} < 1, not {r!r}")
