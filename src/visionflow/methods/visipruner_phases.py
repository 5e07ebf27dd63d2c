"""What VisiPruner makes of one prompt: for each sample the layer that fires, the tokens it keeps, and the exit."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from visionflow.core.adaptive import Decision
from visionflow.core.attention import AttentionRows
from visionflow.core.contribution import PRODUCTS, Contribution, contribution
from visionflow.core.layer import LayerAttention
from visionflow.core.reductions import received, received_after
from visionflow.core.selection import best
from visionflow.core.tokens import GroupName, Tokens
from visionflow.core.work import Probed

if TYPE_CHECKING:
    from visionflow.methods.visipruner import VisiPruner

Selection = Literal["value", "last", "text", "image"]

_READERS: dict[Selection, tuple[GroupName, Callable[[AttentionRows], Tensor]]] = {
    "last": ("last", received),
    "text": ("instruction", received_after),
    "image": ("image", received),
}


@dataclass(frozen=True)
class SamplePhases:
    """What was decided for one sample; None for what did not happen.

    Attributes:
        firing_layer: the last layer with all image tokens.
        exit_layer: the first layer without any.
        kept: int64, columns of ``input_ids`` of the image tokens kept in between, ascending.
        similarity: ``s_j`` of these in the firing layer, fp32.
        norm: ``m_j`` of these in the firing layer, fp32.
    """

    firing_layer: int | None
    exit_layer: int | None
    kept: Tensor
    similarity: Tensor
    norm: Tensor


@dataclass(frozen=True)
class _Firing:
    """What a firing layer showed of the whole batch, and what it chose."""

    tokens: Tokens
    shown: Contribution
    keep: Tensor

    def of(self, sample: int, exit_layer: int | None, layer: int) -> SamplePhases:
        keep = self.keep[sample]
        parts = (self.tokens.columns, self.shown.similarity, self.shown.norm)
        kept, similarity, norm = (part[sample][keep].cpu() for part in parts)
        return SamplePhases(layer, exit_layer, kept, similarity, norm)


class Phases:
    """The decider of one prompt; ``trace.decisions[-1]`` after it."""

    def __init__(self, method: "VisiPruner", tokens: Tokens) -> None:
        self._method = method
        self._firing: list[int | None] = [None] * len(tokens.image.counts)
        self._exit: list[int | None] = [None] * len(tokens.image.counts)
        self._quiet = [0] * len(tokens.image.counts)
        self._pictured = [count > 0 for count in tokens.image.counts]
        self._fired: dict[int, _Firing] = {}

    @property
    def samples(self) -> list[SamplePhases]:
        """One entry per sample."""
        nothing = SamplePhases(None, None, torch.tensor([], dtype=torch.long), torch.tensor([]), torch.tensor([]))
        return [
            nothing if layer is None else self._fired[layer].of(sample, self._exit[sample], layer)
            for sample, layer in enumerate(self._firing)
        ]

    def tell(self, sample: int) -> dict[str, Any]:
        """The fields of `SamplePhases`, in plain numbers."""
        values = vars(self.samples[sample])
        return {name: value.tolist() if isinstance(value, Tensor) else value for name, value in values.items()}

    @property
    def done(self) -> bool:
        """No sample waits for a layer that fires, or for its exit."""
        return not any(self._is_open(sample) for sample in range(len(self._firing)))

    def _is_open(self, sample: int) -> bool:
        ended = self._exit[sample] if "deep" in self._method.phases else self._firing[sample]
        return self._pictured[sample] and ended is None and self._exit[sample] is None

    def decide(self, attention: LayerAttention) -> Decision:
        """One row of attention for each sample, and one read from the device."""
        method, tokens, layer = self._method, attention.tokens, attention.layer
        shown = contribution(attention.rows_of("last"), attention.value)
        rows = tuple(int(self._is_open(sample)) for sample in range(len(self._firing)))
        fires, above, matters = self._read(shown, tokens.image.mask)
        counts = list(tokens.image.counts)
        for sample, count in enumerate(counts):
            if not rows[sample]:
                continue
            if self._firing[sample] is None:
                if fires[sample] or layer == method.fallback_layer:
                    self._firing[sample] = layer
                    counts[sample] = min(count, max(above[sample], method.at_least), method.at_most or count)
            elif self._is_over(sample, bool(matters[sample])):
                counts[sample] = 0
            if not counts[sample]:
                self._exit[sample] = layer + 1
        probes = [(Probed(layer, 1, PRODUCTS), rows)]
        if tuple(counts) == tokens.image.counts and layer not in self._firing:
            return Decision(None, tuple(counts), probes)
        scores = shown.norm
        if layer in self._firing and method.selection != "value":
            readers, reduce = _READERS[method.selection]
            counted = tokens.group(readers).counts
            scores = reduce(attention.rows_of(readers))
            alone = (n * (fired == layer) for n, fired in zip(counted, self._firing, strict=True))
            probes.append((Probed(layer, max(counted)), tuple(alone)))
        if layer in self._firing:
            self._fired[layer] = _Firing(tokens, shown, best(scores, tokens.image, tuple(counts)))
        return Decision(scores, tuple(counts), probes)

    def _read(self, shown: Contribution, image: Tensor) -> tuple[list[int], list[int], list[int]]:
        """For each sample, its image tokens that make the layer fire, are above the threshold, still matter.

        They are counted on the host, from one read: on an accelerator an operation costs more than these numbers.
        """
        method, tokens = self._method, image.shape[1]
        read = torch.cat([shown.dot, shown.square, shown.output_norm, image], 1).cpu()
        dot, square, norm, is_image = torch.split(read, [tokens, tokens, 1, tokens], 1)
        shown, image = Contribution(dot, square, norm), is_image.bool()
        scale = shown.output_norm if method.token_scale == "relative" else 1.0
        fires = ((shown.similarity < method.layer_threshold) & image).sum(1)
        above = ((shown.norm > method.token_threshold * scale) & image).sum(1)
        matters = ((shown.similarity < method.exit_threshold) & image).sum(1)
        return fires.tolist(), above.tolist(), matters.tolist()

    def _is_over(self, sample: int, matters: bool) -> bool:
        """Whether the kept tokens of a sample have not mattered for long enough."""
        if not matters:
            self._quiet[sample] += 1
        elif self._method.exit_rule == "consecutive":
            self._quiet[sample] = 0
        return self._quiet[sample] >= self._method.exit_patience
