"""What a method is: a small frozen dataclass that says where to cut, on which evidence, and what to block.

A new method is one file: subclass `Method`, give it a `name`, check its fields in `__post_init__`, return its cuts.
Every command, benchmark and test takes it as ``package.module:Class``, and by its name once the decorator
`visionflow.methods.register` or an entry point of the group ``visionflow.methods`` has told it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, ClassVar

from visionflow.core.flows import Block
from visionflow.core.keep import Ratio, check_ratio
from visionflow.core.plan import Cut, Plan
from visionflow.errors import VisionFlowError

__all__ = ["Method", "Ratio", "check_layer", "check_range", "check_ratio", "check_schedule", "check_seed", "keep_ratio"]


class Method(ABC):
    """A way to use fewer image tokens; subclasses are frozen dataclasses."""

    name: ClassVar[str]
    always_said: ClassVar[tuple[str, ...]] = ()
    """Fields with a default for which `defaults` may have another: said even where they have theirs."""

    @abstractmethod
    def cuts(self) -> tuple[Cut, ...]:
        """Where tokens are dropped, in layer order."""

    def blocks(self) -> tuple[Block, ...]:
        """Which flows are blocked; none by default."""
        return ()

    def plan(self) -> Plan:
        """All that the runtime needs to know of this method; a field `positions` says what those of kept tokens are."""
        return Plan(self.cuts(), self.blocks(), positions=getattr(self, "positions", "keep"))

    @classmethod
    def defaults(cls, num_layers: int, model: str = "") -> dict[str, Any]:
        """Values that suit a model, for fields where nothing is said: here those of the usual names without a default.

        The papers' layers k = k1 = 2 and k2 = 8 have no place in a model of 8 layers or fewer: there it is a quarter
        and a half of its depth.

        Args:
            num_layers: of the decoder.
            model: what it is called, as `visionflow.loading.models.Loaded` has it; for values found for one model.
        """
        shallow = num_layers <= 8
        early, middle = (max(1, num_layers // 4), num_layers // 2) if shallow else (2, 8)
        usual = {"k": early, "r": 0.5, "k1": early, "r1": 0.5, "k2": max(early + 1, middle), "r2": 0.75}
        unset = {field.name for field in fields(cls) if field.default is MISSING}  # type: ignore[arg-type]
        return {name: value for name, value in usual.items() if name in unset}

    @classmethod
    def whose_defaults(cls, num_layers: int, model: str = "") -> str:
        """Where `defaults` come from, for people."""
        return f"the default for {num_layers} layers"

    @classmethod
    def bench_defaults(cls, num_layers: int) -> dict[str, Any]:
        """The same on random weights, where a method that decides by what it sees is made to do its average."""
        return cls.defaults(num_layers)

    @property
    def spec(self) -> str:
        """The text from which `visionflow.method` makes this method again: ``fastv:k=3,r=0.5``."""
        from visionflow.methods.spec import spec_of

        return spec_of(self)

    def to_dict(self) -> dict[str, Any]:
        """Name and all fields, of JSON's types alone: ``{"name": "fastv", "k": 3, "r": 0.5}``.

        Raises:
            VisionFlowError: a field holds what has no place in JSON.
        """
        from visionflow.methods.spec import to_dict

        return to_dict(self)

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> "Method":
        """The method from which `to_dict` made this.

        Raises:
            VisionFlowError: it names no method, or a field is missing, unknown or out of range.
        """
        from visionflow.methods.spec import method

        return method(content)

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


def check_range(name: str, value: float, least: float, most: float, why: str = "") -> None:
    """Refuse a number that is not from `least` to `most`; `why` ends the sentence."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise VisionFlowError(f"{name} must be {least} to {most}{why}, not {value!r}")


def check_schedule(layers: tuple[int, ...], ratios: tuple[float, ...], least: int = 1) -> None:
    """Refuse layers that do not increase or are not at `least` so many, or not one fraction for each."""
    for layer in layers:
        check_layer("each of layers", layer, least)
    for each in ratios:
        check_ratio("each of ratios", each)
    if not layers or list(layers) != sorted(set(layers)):
        raise VisionFlowError(f"layers must be increasing, at least one, not {layers}")
    if len(layers) != len(ratios):
        raise VisionFlowError(f"{len(layers)} layers need as many ratios, one for each cut, not {len(ratios)}")


def check_seed(seed: int) -> None:
    """Refuse a `seed` that does not go into the 64 bits of a tensor's number."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not -(2**63) <= seed < 2**63:
        raise VisionFlowError(f"the seed must be a whole number, at least -2**63 and below 2**63, not {seed!r}")
