"""What an engine is asked to do, as data: drop tokens before some layers (on evidence), block flows in others."""

from dataclasses import dataclass
from typing import Literal, get_args

from visionflow.core.adaptive import AdaptiveCuts
from visionflow.core.depth import attending_of, listed
from visionflow.core.evidence import Attention, Evidence, Features, Nothing, Tower, When
from visionflow.core.flows import Block, Watch, Withhold
from visionflow.core.forms import Form
from visionflow.core.keep import Keep, Positive
from visionflow.core.readings import readings
from visionflow.core.selection import Select, Top
from visionflow.core.tokens import GroupName
from visionflow.core.work import Compared, Probed, Vectors, Work
from visionflow.errors import UnsupportedUsageError

Positions = Literal["keep", "compact"]
"""Tokens that stay keep their positions, or are numbered anew from 0 after each cut, as are tokens that come later."""


@dataclass(frozen=True)
class Cut(Form):
    """Before decoder layer `layer` (0-based), `keep` of each sample's n image tokens stay, chosen on `evidence`.

    How many stay is, where it can be, a function of n alone, so that every length is known on the host before the
    forward pass and only *which* tokens stay depends on activations.

    Attributes:
        layer: the first layer that sees the shorter sequence; 0 for before the first.
        keep: how many stay; n where nothing is dropped.
        evidence: what the choice is made on.
        select: the choice: a pure function of evidence and counts.

    Raises:
        UnsupportedUsageError: the evidence is not there before that layer, or not what the choice needs.
    """

    layer: int
    keep: Keep
    evidence: Evidence = Nothing()
    select: Select = Top()

    def __post_init__(self) -> None:
        if self.layer < 0:
            raise UnsupportedUsageError(f"a cut is before a layer, counted from 0, not {self.layer}")
        if self.layer < self.evidence.earliest:
            raise UnsupportedUsageError(
                f"a cut on {type(self.evidence).__name__.lower()} of a layer that has run needs one before it: "
                "use k >= 1"
            )
        needed = {*self.select.needs, *(("scores",) if isinstance(self.keep, Positive) else ())}
        if not needed <= {*self.evidence.shows}:
            raise UnsupportedUsageError(
                f"a cut that keeps by {type(self.keep).__name__} and {type(self.select).__name__} needs "
                f"{' and '.join(sorted(needed))}, and {type(self.evidence).__name__} shows "
                f"{' and '.join(self.evidence.shows)}"
            )

    @property
    def attention(self) -> Attention | None:
        """The attention that is among its evidence; None for none."""
        return next((part for part in self.evidence.parts if isinstance(part, Attention)), None)

    @property
    def probed(self) -> int | None:
        """The layer whose attention is looked at; None for none."""
        return None if self.attention is None else self.layer - self.attention.earliest

    @property
    def read_layers(self) -> tuple[int, ...]:
        """The layers whose queries and keys are among its evidence."""
        return tuple(self.layer - (part.read == "ran") for part in self.evidence.parts if part.read)

    def read_of(self, layer: int, when: When) -> list[Evidence]:
        """Of its evidence that which is made of the queries and keys of `layer`, which runs now or is about to."""
        read = self.layer - (when == "ran")
        return [part for part in self.evidence.parts if part.read == when and layer == read]

    def probe(self, rows: int, present: int) -> Probed:
        """What it costs to look at so many query rows, with so many tokens present."""
        assert self.attention is not None
        entry = self.attention.when == "entry"
        return Probed(self.layer if entry else self.layer - 1, rows, projected=present if entry else 0)

    def compared(self, image_tokens: int, text: int) -> Compared:
        """The products of features that a choice among so many image tokens takes, with so many of text after them."""
        kept = self.keep(image_tokens)
        of: Vectors = "hidden"
        for part in self.evidence.parts:
            if isinstance(part, Tower):
                of = "tower"
            elif isinstance(part, Features):
                of = "key" if part.of == "key" else "hidden"
        if kept is None or kept == image_tokens:
            return Compared(self.layer, 0, of)
        scores = [part.score for part in self.evidence.parts if isinstance(part, Features) and part.score]
        pairs = self.select.pairs(image_tokens, kept, text)
        return Compared(self.layer, pairs + sum(score.pairs(image_tokens, text) for score in scores), of)


@dataclass(frozen=True)
class Plan(Form):
    """Cuts in layer order, and what is blocked, withheld and watched: all that a scope does to a model.

    Attributes:
        cuts: at given layers.
        blocks: flows that are blocked.
        withheld: keys that the caches are not to hold.
        watches: who looks at which layers.
        adaptive: cuts that depend on what the layers show, in place of `cuts`.
        way_out: how the method does without blocks and withheld keys, told where these cannot be had.
        positions: of the tokens that stay, see `Positions`.

    Raises:
        UnsupportedUsageError: on construction, when two cuts share a layer or are out of order, or cuts at given layers
            are mixed with adaptive ones.
    """

    cuts: tuple[Cut, ...] = ()
    blocks: tuple[Block, ...] = ()
    withheld: tuple[Withhold, ...] = ()
    watches: tuple[Watch, ...] = ()
    adaptive: AdaptiveCuts | None = None
    way_out: str = "do not block or withhold"
    positions: Positions = "keep"

    def __post_init__(self) -> None:
        if self.positions not in get_args(Positions):
            raise UnsupportedUsageError(f"positions are 'keep' or 'compact', not {self.positions!r}")
        layers = [cut.layer for cut in self.cuts]
        if layers != sorted(set(layers)):
            raise UnsupportedUsageError(f"cuts must be at increasing layers, not {layers}")
        if self.cuts and self.adaptive:
            raise UnsupportedUsageError("a plan has cuts at given layers or adaptive cuts, not both")

    @property
    def _of_layers(self) -> tuple[Block | Withhold | Watch, ...]:
        """What names layers besides cuts."""
        return *self.blocks, *self.withheld, *self.watches

    def check_depth(self, num_layers: int) -> None:
        """Refuse a plan that names a layer the model does not have, or needs attention where there is none.

        Args:
            num_layers: decoder layers; a `visionflow.core.depth.Depth` knows which of them attend.

        Raises:
            UnsupportedUsageError: it does.
        """
        least = len(self.cuts) + self.cuts[0].evidence.earliest if self.cuts else 0
        if num_layers < least:
            cuts = f"{len(self.cuts)} cut{'s' * (len(self.cuts) > 1)}"
            raise UnsupportedUsageError(
                f"a method with {cuts} needs at least {least} decoder layers, the model has {num_layers}: "
                "take one with fewer cuts, or a deeper model"
            )
        for cut in self.cuts:
            if cut.layer >= num_layers:
                raise UnsupportedUsageError(
                    f"the cut before layer {cut.layer} is beyond the model's {num_layers} decoder layers: "
                    f"use a k between {cut.evidence.earliest} and {num_layers - 1}"
                )
        self._check_attention(num_layers)
        meant = self.adaptive.depth if self.adaptive else None
        if meant not in (None, num_layers):
            raise UnsupportedUsageError(
                f"this method is set for depth={meant} decoder layers, and the model has {num_layers}: "
                f"use depth={num_layers}"
            )
        for name, layer in self.adaptive.named_layers.items() if self.adaptive else ():
            if not 0 <= layer < num_layers - 1:
                raise UnsupportedUsageError(
                    f"{name}={layer} leaves nothing to cut in the model's {num_layers} decoder layers: "
                    f"use 0 to {num_layers - 2}"
                )
        for part in self._of_layers:
            beyond = [layer for layer in part.layers if not 0 <= layer < num_layers]
            if beyond:
                raise UnsupportedUsageError(
                    f"a {type(part).__name__.lower()} names layer {beyond[0]}, "
                    f"the model has decoder layers 0 to {num_layers - 1}"
                )

    def _check_attention(self, num_layers: int) -> None:
        """Refuse a look at layers without attention, flows blocked in them and keys taken out of their caches."""
        attending = attending_of(num_layers)
        if len(attending) == num_layers:
            return
        if self.adaptive:
            raise UnsupportedUsageError(
                f"this method decides on the attention of layer after layer, and of the model's {num_layers} layers "
                f"only {listed(attending)} have any: take a method that cuts at given layers, such as FastV"
            )
        for cut in self.cuts:
            read = next((layer for layer in cut.read_layers if layer not in attending), None)
            if read is not None:
                possible = [each + cut.layer - read for each in attending if each + cut.layer - read < num_layers]
                nearest = min(possible, key=lambda layer: abs(layer - cut.layer), default=None)
                way_out = "" if nearest is None else f"use {nearest} (possible: {listed(possible)}), or "
                raise UnsupportedUsageError(
                    f"a cut before layer {cut.layer} looks at the attention of layer {read}, which has none: {way_out}"
                    "take a method that looks at no attention, such as VTW"
                )
        for part in self._of_layers:
            without = [layer for layer in part.layers if layer < num_layers and layer not in attending]
            if without:
                raise UnsupportedUsageError(
                    f"a {type(part).__name__.lower()} names layer {without[0]}, which has no attention: "
                    f"name layers of {listed(attending)}"
                )

    def attended_layers(self, num_layers: int) -> set[int]:
        """The layers whose attention itself is looked at or altered; all others run as they are."""
        probed = {layer for cut in self.cuts for layer in cut.read_layers}
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
                kept = cut_at[layer].keep(image_tokens)
                if kept is None:
                    raise _unknown(layer)
                image_tokens = kept
            counts.append(image_tokens)
        return counts

    def work(self, image_tokens: int, system_tokens: int, instruction_tokens: int, num_layers: int) -> Work:
        """What one prompt of so many tokens goes through, a pure function of the counts.

        Raises:
            UnsupportedUsageError: a cut's count depends on activations.
        """
        images = self.image_tokens(image_tokens, num_layers)
        text = system_tokens + instruction_tokens
        lengths = [text + n for n in images]
        pairs, cached = [n * n for n in lengths], list(lengths)
        counts: dict[GroupName, int] = {"system": system_tokens, "instruction": instruction_tokens, "last": 1}
        if image_tokens:
            for layer, blocked in self.skipped().items():
                of_layer = {**counts, "image": images[layer]}
                pairs[layer] = sum(reading.pairs(of_layer) for reading in readings(blocked))
            for layer in self.forgotten():
                cached[layer] = text
        before = [image_tokens, *images]  # by layer, image tokens before its cut
        looking = [cut for cut in self.cuts if images[cut.layer] < before[cut.layer]]  # at other cuts nobody looks
        probes = [
            cut.probe({**counts, "image": before[cut.layer]}[cut.attention.rows], text + before[cut.layer])
            for cut in looking
            if cut.attention is not None
        ]
        weights = {part.weigh: cut.layer for cut in reversed(looking) if (part := cut.attention) and part.weigh}
        compared = [
            *(Compared(layer, weigh.pairs(image_tokens, instruction_tokens)) for weigh, layer in weights.items()),
            *(each for cut in looking if (each := cut.compared(before[cut.layer], instruction_tokens)).pairs),
        ]
        unread = {layer for layer, groups in self.skipped().items() if "image" in groups}
        return Work(lengths, pairs, cached, text + image_tokens, probes, unread, compared)

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
