"""AutoPrune: "Each Complexity Deserves a Pruning Policy" (Wang et al., NeurIPS 2025, arXiv:2509.23931)."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from visionflow.core.adaptive import AdaptiveCuts, Decision
from visionflow.core.information import read_and_information
from visionflow.core.layer import LayerAttention
from visionflow.core.plan import Cut, Plan
from visionflow.core.tokens import Tokens
from visionflow.core.work import Probed
from visionflow.methods.base import Method, check_layer, check_range, check_ratio


@dataclass(frozen=True)
class AutoPrune(Method):
    """Drop image tokens before every layer after `first`, along a curve that each sample's attention bends.

    With A the attention of layer `first` averaged over heads in fp32, from the text after the picture to the image
    tokens, I is the mutual information of the two. Layer l then has ``n_l = c / (1 + exp(s (l - m)))`` of the n image
    tokens, at most n and at least one, where s is ``max(0, steepness - sensitivity I)`` in a model of 32 layers
    (elsewhere in proportion), m the layer at `midpoint` of the depth, and c such that the mean over all layers is
    ``(1 - r) n``, whatever I is. Those that the text reads most in layer l-1 stay.

    The price: I is read from the device once for each prompt, the rows of the text are looked at in every layer before
    a cut, and no length is known before the pass, so that a serving engine refuses it. In the released code I is summed
    over heads, and tokens that go are clustered as in SparseVLM; here they are dropped.

    Attributes:
        r: fraction dropped on average over the layers, 0 <= r < 1.
        depth: decoder layers of the model.
        first: the layer whose attention decides, counted from 0; all tokens are there until after it.
        midpoint: where the curve falls most, as a share of the depth.
        steepness: of the curve where the text and the picture tell nothing of each other.
        sensitivity: how much flatter a nat of information makes it.

    Raises:
        VisionFlowError: a field is out of range.
    """

    name: ClassVar[str] = "autoprune"
    always_said: ClassVar[tuple[str, ...]] = ("depth",)

    r: float
    depth: int = 32
    first: int = 1
    midpoint: float = 14.9 / 32
    steepness: float = 0.4
    sensitivity: float = 0.2

    def __post_init__(self) -> None:
        check_ratio("r", self.r)
        check_layer("first", self.first, least=0)
        check_layer("depth", self.depth, least=self.first + 2)
        for name in ("midpoint", "steepness", "sensitivity"):
            check_range(name, getattr(self, name), 0, 100)

    def cuts(self) -> tuple[Cut, ...]:
        """None at given layers."""
        return ()

    def plan(self) -> Plan:
        """Cuts that wait for the attention of the first layers."""
        return Plan(adaptive=Retention(tuple(vars(self).items())))

    @classmethod
    def defaults(cls, num_layers: int, model: str = "") -> dict[str, Any]:
        """As deep as the model."""
        return {**super().defaults(num_layers, model), "depth": num_layers}

    def counts(self, n: int, information: float) -> list[int]:
        """Image tokens in each layer, of n, where the text and the picture share so many nats of information."""
        slope = max(0.0, self.steepness - self.sensitivity * information) * 32 / self.depth
        layers = range(self.first + 1, self.depth)
        curve = [1 / (1 + math.exp(min(700.0, slope * (layer - self.midpoint * self.depth)))) for layer in layers]
        target = (1 - self.r) * n * self.depth - n * (self.first + 1)
        low, high = 0.0, n / min(curve)
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if sum(min(n, middle * part) for part in curve) <= target else (low, middle)
        return [n] * (self.first + 1) + [min(n, max(1, round(low * part))) for part in curve]


@dataclass(frozen=True)
class Retention(AdaptiveCuts):
    """The cuts of an `AutoPrune`.

    Attributes:
        options: its fields, by name.
    """

    options: tuple[tuple[str, Any], ...]

    @property
    def named_layers(self) -> dict[str, int]:
        """The layer whose attention decides."""
        return {"first": dict(self.options)["first"]}

    @property
    def depth(self) -> int:
        """The depth that the curves are drawn over."""
        return int(dict(self.options)["depth"])

    def start(self, tokens: Tokens) -> "Curves":
        """The curves of one prompt."""
        return Curves(AutoPrune(**dict(self.options)))


class Curves:
    """The decider of one prompt; ``trace.decisions[-1]`` after it.

    Attributes:
        information: of each sample, in nats; empty before the first look.
        counts: image tokens of each sample in each layer.
    """

    def __init__(self, method: AutoPrune) -> None:
        self._method = method
        self.information: list[float] = []
        self.counts: list[list[int]] = []
        self._layer = -1

    @property
    def done(self) -> bool:
        """No layer after the latest has fewer."""
        return bool(self.counts) and all(len({*each[self._layer + 1 :]}) == 1 for each in self.counts)

    def tell(self, sample: int) -> dict[str, Any]:
        """What was decided for one sample."""
        return {"information": self.information[sample], "counts": self.counts[sample]}

    def decide(self, attention: LayerAttention) -> Decision:
        """The rows of the text in one look, and in the first layer one read from the device."""
        given, text = attention.tokens.image.counts, attention.tokens.instruction.counts
        self._layer, following = attention.layer, attention.layer + 1
        if self.counts and all(each[following] == n for each, n in zip(self.counts, given, strict=True)):
            return Decision(None, given, ())
        scores, information = read_and_information(attention.rows_of("instruction"))
        looked = [n > 0 for n in given]
        if not self.counts:
            self.information = information.tolist()
            self.counts = [self._method.counts(n, each) for n, each in zip(given, self.information, strict=True)]
        else:
            looked = [each[following] < n for each, n in zip(self.counts, given, strict=True)]
        rows = tuple(n * look for n, look in zip(text, looked, strict=True))
        counts = tuple(each[following] for each in self.counts)
        return Decision(scores, counts, [(Probed(attention.layer, max(text)), rows)])
