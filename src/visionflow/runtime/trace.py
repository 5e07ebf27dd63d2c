"""What a pruning scope did to the latest prompt."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from visionflow.runtime.tokens import Tokens


@dataclass(frozen=True)
class Stage:
    """One cut of the latest prompt, recorded also where it found nothing to drop.

    Attributes:
        layer: the first layer that saw the shorter sequence.
        tokens: the tokens that stayed.
    """

    layer: int
    tokens: Tokens

    @property
    def kept(self) -> list[Tensor]:
        """Per sample, int64: columns of ``input_ids`` (left padding counted) of the image tokens kept, ascending."""
        columns, image = self.tokens.columns.cpu(), self.tokens.image.mask.cpu()
        return [columns[sample][image[sample]] for sample in range(len(columns))]


@dataclass
class Trace:
    """Read it after a forward pass or `generate`; a new prompt starts it anew, generated tokens leave it alone.

    Turns that continue on the same cache add their stages and image tokens.

    Attributes:
        num_layers: decoder layers.
        stages: one entry per cut.
        rows: per layer, the sequence length that was run, fillers and padding included.
        probes: per cut that was decided by attention: the probed layer and the number of query rows looked at.
    """

    num_layers: int
    stages: list[Stage] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    probes: list[tuple[int, int]] = field(default_factory=list)
    _image: list[list[int]] = field(default_factory=list, repr=False)
    _text: list[int] = field(default_factory=list, repr=False)
    _instruction: list[int] = field(default_factory=list, repr=False)

    @property
    def image_tokens(self) -> Tensor:
        """Image tokens present in each layer, int64 ``[num_layers, batch]``."""
        return torch.tensor(self._image, dtype=torch.long)

    @property
    def text_tokens(self) -> Tensor:
        """The other tokens of the prompt, padding not counted, int64 ``[batch]``."""
        return torch.tensor(self._text, dtype=torch.long)

    @property
    def instruction_tokens(self) -> Tensor:
        """The text tokens that come after a picture, int64 ``[batch]``."""
        return torch.tensor(self._instruction, dtype=torch.long)

    def start(self, batch: int) -> None:
        """Forget the prompt before."""
        self.stages = []
        self.probes = []
        self.rows = [0] * self.num_layers
        self._image = [[0] * batch for _ in range(self.num_layers)]
        self._text = [0] * batch
        self._instruction = [0] * batch

    def count(self, layer: int, tokens: Tokens) -> None:
        """Note the tokens that layer `layer` is about to see; host integers only."""
        self.rows[layer] += tokens.columns.shape[1]
        self._image[layer] = _sum(self._image[layer], tokens.image.counts)
        if layer == 0:
            self._text = _sum(self._text, tokens.system.counts, tokens.instruction.counts)
            self._instruction = _sum(self._instruction, tokens.instruction.counts)


def _sum(*counts: Sequence[int]) -> list[int]:
    return [sum(sample) for sample in zip(*counts, strict=True)]
