"""What the runtime is asked to do: drop tokens before some layers (on evidence or without), block flows in others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import Tensor

from visionflow.core.attention import AttentionRows
from visionflow.core.layer import LayerAttention
from visionflow.core.readings import readings
from visionflow.core.tokens import SPANS, GroupName, Tokens
from visionflow.core.work import Look, Work
from visionflow.errors import UnsupportedUsageError

Selection = GroupName | Callable[[Tokens], Tensor]
"""Some of the tokens present: a group, or a function that gives bool ``[batch, tokens]``."""

BlockMode = Literal["renormalise", "skip", "zero", "fold"]


@dataclass(frozen=True)
class Probe:
    """Evidence from the attention of the layer just before a cut.

    Attributes:
        rows: the query rows that are looked at; only these are computed.
        reduce: turns them into one score per token of the prompt, ``[batch, tokens]`` in fp32.
    """

    rows: GroupName
    reduce: Callable[[AttentionRows], Tensor]


@dataclass(frozen=True)
class Cut:
    """Before decoder layer `layer` (0-based), keep the `count(n)` best of each sample's n image tokens.

    The count is, where it can be, a function of n alone, so that every length is known on the host before the forward
    pass and only *which* tokens stay depends on activations. Ties go to the token that comes first in the prompt.

    Attributes:
        layer: the first layer that sees the shorter sequence; at least 1.
        count: image tokens kept of n, equal to n where nothing is dropped; None to keep the tokens whose score is
            positive, however many, at the price of one read from the device.
        probe: scores from the attention of layer `layer - 1`, or None.
        score: scores from the tokens alone, ``[batch, tokens]``, where there is no probe; None where order is idle.
    """

    layer: int
    count: Callable[[int], int] | None
    probe: Probe | None = None
    score: Callable[[Tokens], Tensor] | None = None


@dataclass(frozen=True)
class Decision:
    """What an adaptive method makes of one layer.

    Attributes:
        scores: ``[batch, tokens]`` in fp32; each sample's best image tokens stay.
        counts: image tokens that stay in each sample, all of them where nothing is to go.
        looks: what it took, each with the query rows that each sample would have taken alone.
    """

    scores: Tensor
    counts: tuple[int, ...]
    looks: Sequence[tuple[Look, tuple[int, ...]]]


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
class AdaptiveCuts:
    """Cuts that depend on what the layers show: where they fall and how many tokens stay differs between samples.

    Attributes:
        first: the first layer whose attention is looked at; the earliest cut is before the layer after it.
        named: what the method calls it.
        latest: a layer that is to decide whatever it shows, and what the method calls it; None for none.
        start: makes the decider of one prompt, before its first layer runs; the trace keeps it.
    """

    first: int
    named: str
    latest: tuple[str, int] | None
    start: Callable[[Tokens], Decider]


@dataclass(frozen=True)
class Block:
    """In each of `layers`, no token of `target` may read the keys of `source`.

    ``Block(range(5), source="image", target="instruction")`` cuts the visual-textual flow of five layers.

    Attributes:
        layers: 0-based decoder layers, exactly these.
        source: prompt tokens whose keys are not to be read.
        target: prompt tokens that may not read them; generated tokens read on (see `Withhold`).
        mode: "renormalise" takes the pairs away before the softmax, so the rest of the row grows; "skip" is the same
            and leaves the pairs uncomputed (image to system, image or instruction only); "zero" sets their attention to
            zero after the softmax, so the row sums to less than one; "fold" gives it to the first token of `source`.
    """

    layers: Sequence[int]
    source: Selection
    target: Selection
    mode: BlockMode = "renormalise"

    def __post_init__(self) -> None:
        if self.mode == "skip" and not (self.source == "image" and self.target in SPANS):
            raise UnsupportedUsageError(
                "only what the system, image or instruction tokens read of the image can be skipped: "
                "use mode='renormalise'"
            )


@dataclass(frozen=True)
class Withhold:
    """In each of `layers`, no token after the prompt reads the keys of `source`: the cache does not hold them."""

    layers: Sequence[int]
    source: Selection


@dataclass(frozen=True)
class Watch:
    """`look` sees the attention of each of `layers` just after it has run on a prompt, gradients and all."""

    layers: Sequence[int]
    look: Callable[[LayerAttention], None]


@dataclass(frozen=True)
class Plan:
    """Cuts in layer order, and what is blocked, withheld and watched: all that a scope does to a model.

    Attributes:
        cuts: at given layers.
        blocks: flows that are blocked.
        withheld: keys that the caches are not to hold.
        watches: who looks at which layers.
        adaptive: cuts that depend on what the layers show, in place of `cuts`.
        way_out: how the method does without blocks and withheld keys, told where these cannot be had.

    Raises:
        UnsupportedUsageError: on construction, when a cut is before layer 1, two cuts share a layer, or cuts at given
            layers are mixed with adaptive ones.
    """

    cuts: tuple[Cut, ...] = ()
    blocks: tuple[Block, ...] = ()
    withheld: tuple[Withhold, ...] = ()
    watches: tuple[Watch, ...] = ()
    adaptive: AdaptiveCuts | None = None
    way_out: str = "do not block or withhold"

    def __post_init__(self) -> None:
        layers = [cut.layer for cut in self.cuts]
        if any(layer < 1 for layer in layers):
            raise UnsupportedUsageError("a cut needs at least one layer before it: use k >= 1")
        if layers != sorted(set(layers)):
            raise UnsupportedUsageError(f"cuts must be at increasing layers, not {layers}")
        if self.cuts and self.adaptive:
            raise UnsupportedUsageError("a plan has cuts at given layers or adaptive cuts, not both")

    def check_depth(self, num_layers: int) -> None:
        """Refuse a plan that names a layer the model does not have."""
        least = len(self.cuts) + 1  # each cut has a layer before it, and the last has one after it
        if num_layers < least:
            raise UnsupportedUsageError(
                f"a method with {least - 1} cut{'s' * (least > 2)} needs at least {least} decoder layers, "
                f"the model has {num_layers}: take one with fewer cuts, or a deeper model"
            )
        for cut in self.cuts:
            if cut.layer >= num_layers:
                raise UnsupportedUsageError(
                    f"the cut before layer {cut.layer} is beyond the model's {num_layers} decoder layers: "
                    f"use a k between 1 and {num_layers - 1}"
                )
        if self.adaptive:
            for name, layer in ((self.adaptive.named, self.adaptive.first), *filter(None, (self.adaptive.latest,))):
                if not 0 <= layer < num_layers - 1:
                    raise UnsupportedUsageError(
                        f"{name}={layer} leaves nothing to cut in the model's {num_layers} decoder layers: "
                        f"use 0 to {num_layers - 2}"
                    )
        named: tuple[Block | Withhold | Watch, ...] = (*self.blocks, *self.withheld, *self.watches)
        for part in named:
            beyond = [layer for layer in part.layers if not 0 <= layer < num_layers]
            if beyond:
                raise UnsupportedUsageError(
                    f"a {type(part).__name__.lower()} names layer {beyond[0]}, "
                    f"the model has decoder layers 0 to {num_layers - 1}"
                )

    def attended_layers(self, num_layers: int) -> set[int]:
        """The layers whose attention itself is looked at or altered; all others run as they are."""
        probed = {cut.layer - 1 for cut in self.cuts if cut.probe is not None}
        altered = {layer for block in self.blocks if block.mode != "renormalise" for layer in block.layers}
        adaptive = set(range(self.adaptive.first, num_layers - 1)) if self.adaptive else set()
        return probed | altered | adaptive | {layer for watch in self.watches for layer in watch.layers}

    def image_tokens(self, image_tokens: int, num_layers: int) -> list[int]:
        """Image tokens in each layer for a prompt of `image_tokens`, a pure function of the counts.

        Raises:
            UnsupportedUsageError: a cut's count depends on activations.
        """
        counts = []
        cut_at = {cut.layer: cut for cut in self.cuts}
        for layer in range(num_layers):
            if self.adaptive and layer > self.adaptive.first:
                raise _unknown(layer)
            if layer in cut_at:
                count = cut_at[layer].count
                if count is None:
                    raise _unknown(layer)
                image_tokens = count(image_tokens)
            counts.append(image_tokens)
        return counts

    def work(self, image_tokens: int, system_tokens: int, instruction_tokens: int, num_layers: int) -> Work:
        """What one prompt of so many tokens goes through, a pure function of the counts.

        Raises:
            UnsupportedUsageError: a cut's count depends on activations.
        """
        images = self.image_tokens(image_tokens, num_layers)
        text = system_tokens + instruction_tokens
        rows = [text + n for n in images]
        pairs, held = [n * n for n in rows], list(rows)
        counts: dict[GroupName, int] = {"system": system_tokens, "instruction": instruction_tokens, "last": 1}
        if image_tokens:
            for layer, blind in self.skipped().items():
                of_layer = {**counts, "image": images[layer]}
                pairs[layer] = sum(reading.pairs(of_layer) for reading in readings(blind))
            for layer in self.forgotten():
                held[layer] = text
        looks = [
            Look(cut.layer - 1, {**counts, "image": images[cut.layer - 1]}[cut.probe.rows])
            for cut in self.cuts
            if cut.probe is not None and images[cut.layer] < images[cut.layer - 1]  # a cut that drops nothing is blind
        ]
        return Work(rows, pairs, held, looks, {layer for layer, groups in self.skipped().items() if "image" in groups})

    def skipped(self) -> dict[int, set[GroupName]]:
        """By layer, the groups whose reading of the image is left uncomputed."""
        groups: dict[int, set[GroupName]] = {}
        for block in self.blocks:
            if block.mode == "skip" and not callable(block.target):
                for layer in block.layers:
                    groups.setdefault(layer, set()).add(block.target)
        return groups

    def forgotten(self) -> set[int]:
        """The layers whose cache does not hold the image tokens."""
        return {layer for part in self.withheld if part.source == "image" for layer in part.layers}


def _unknown(layer: int) -> UnsupportedUsageError:
    return UnsupportedUsageError(
        f"how many tokens stay at layer {layer} depends on the prompt: run it, and read the trace"
    )
