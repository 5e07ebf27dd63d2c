"""What a method is: a small frozen dataclass that says where to cut, on which evidence, and what to block.

A new method is one file: subclass `Method`, give it a `name`, check its fields in `__post_init__`, return its cuts.
Add it to `METHODS` in `visionflow.methods` and every command, benchmark and test knows it.
"""

from abc import ABC, abstractmethod
from dataclasses import fields
from typing import ClassVar

from visionflow.core.keep import Ratio, check_ratio
from visionflow.core.plan import Block, Cut, Plan
from visionflow.errors import VisionFlowError

__all__ = ["Method", "Ratio", "check_layer", "check_ratio", "check_seed", "keep_ratio"]


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


keep_ratio = Ratio
"""The count kept when the fraction `r` is dropped."""


def check_layer(name: str, k: int, least: int = 1) -> None:
    """Refuse a `k` that is not a whole number of layers, at least `least`."""
    if isinstance(k, bool) or not isinstance(k, int) or k < least:
        raise VisionFlowError(f"{name} must be a whole number of layers, at least {least}, not {k!r}")


def check_seed(seed: int) -> None:
    """Refuse a `seed` that does not go into the 64 bits of a tensor's number."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not -(2**63) <= seed < 2**63:
        raise VisionFlowError(f"the seed must be a whole number, at least -2**63 and below 2**63, not {seed!r}")
