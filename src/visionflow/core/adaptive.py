"""Cuts that depend on what the layers show: decided for one prompt, layer by layer and sample by sample."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from visionflow.core.forms import Form
from visionflow.core.layer import LayerAttention
from visionflow.core.tokens import Tokens
from visionflow.core.work import Probed


@dataclass(frozen=True)
class Decision:
    """What an adaptive method makes of one layer.

    Attributes:
        scores: ``[batch, tokens]`` in fp32; each sample's best image tokens stay. None where all stay.
        counts: image tokens that stay in each sample, all of them where nothing is to go.
        probes: what it took, each with the query rows that each sample would have taken alone.
    """

    scores: Tensor | None
    counts: tuple[int, ...]
    probes: Sequence[tuple[Probed, tuple[int, ...]]]


class Decider(Protocol):
    """Decides for one prompt, layer by layer and sample by sample, which image tokens go."""

    @property
    def done(self) -> bool:
        """Whether nothing is left to decide: no further layer is looked at."""

    def decide(self, attention: LayerAttention) -> Decision:
        """What stays after the layer that has just run, at the price of one read from the device."""

    def tell(self, sample: int) -> dict[str, Any]:
        """What was decided for one sample, in plain numbers."""


@dataclass(frozen=True)
class AdaptiveCuts(Form, ABC):
    """Cuts that depend on what the layers show: where they fall and how many tokens stay differs between samples.

    A subclass is a frozen dataclass with the settings of its decider.
    """

    @property
    @abstractmethod
    def named_layers(self) -> dict[str, int]:
        """The layers that it names, as the method calls them; the first is the first whose attention is looked at."""

    @property
    def depth(self) -> int | None:
        """The number of decoder layers that its settings are for; None for any."""
        return None

    @property
    def first(self) -> int:
        """The first layer that is looked at; the earliest cut is before the layer after it."""
        return next(iter(self.named_layers.values()))

    @abstractmethod
    def start(self, tokens: Tokens) -> Decider:
        """The decider of one prompt, before its first layer runs; the trace keeps it."""
