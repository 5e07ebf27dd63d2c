"""What a pruning scope did to the latest prompt."""

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
        stages: one entry per cut.
        image_tokens: int64 ``[num_layers, batch]``, image tokens present in each layer.
        text_tokens: int64 ``[batch]``, the other tokens of the prompt, padding not counted.
        instruction_tokens: int64 ``[batch]``, those of them that come after a picture.
        rows: per layer, the sequence length that was run, fillers and padding included.
        probes: per cut that was decided by attention: the probed layer and the number of query rows looked at.
    """

    num_layers: int
    stages: list[Stage] = field(default_factory=list)
    image_tokens: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.long))
    text_tokens: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    instruction_tokens: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    rows: list[int] = field(default_factory=list)
    probes: list[tuple[int, int]] = field(default_factory=list)

    def start(self, batch: int) -> None:
        """Forget the prompt before."""
        self.stages = []
        self.probes = []
        self.rows = [0] * self.num_layers
        self.image_tokens = torch.zeros(self.num_layers, batch, dtype=torch.long)
        self.text_tokens = torch.zeros(batch, dtype=torch.long)
        self.instruction_tokens = torch.zeros(batch, dtype=torch.long)

    def count(self, layer: int, tokens: Tokens) -> None:
        """Note the tokens that layer `layer` is about to see."""
        self.image_tokens[layer] += torch.tensor(tokens.image.counts)
        self.rows[layer] += tokens.columns.shape[1]
        if layer == 0:
            self.text_tokens += torch.tensor(tokens.lengths()) - torch.tensor(tokens.image.counts)
            self.instruction_tokens += torch.tensor(tokens.instruction.counts)
