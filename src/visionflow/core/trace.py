"""What a pruning scope did to the latest prompt."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from visionflow.core.tokens import Tokens
from visionflow.core.work import Compared, Probed, Work
from visionflow.errors import VisionFlowError


@dataclass(frozen=True)
class Stage:
    """One cut of the latest prompt, recorded also where it found nothing to drop.

    Attributes:
        layer: the first layer that saw the shorter sequence.
        tokens: the tokens that stayed.
        given: the tokens of the prompt, or of this turn of it, before any cut.
        joined: the tokens that were present, and int64 ``[batch, present]``, the place of the kept token that each was
            merged into, its own where it was not; None where tokens are dropped.
    """

    layer: int
    tokens: Tokens
    given: Tokens
    joined: tuple[Tokens, Tensor] | None = None

    @property
    def kept(self) -> list[Tensor]:
        """Per sample, int64: columns of ``input_ids`` (left padding counted) of the image tokens kept, ascending."""
        return _image_columns(self.tokens)

    @property
    def merged(self) -> list[Tensor] | None:
        """Per sample, int64 ``[2, merged]``: columns of the image tokens that were merged, and of what took them in.

        None where tokens are dropped.
        """
        if self.joined is None:
            return None
        tokens, into = self.joined[0].to(torch.device("cpu")), self.joined[1].cpu()
        moved = (into != torch.arange(into.shape[1])) & tokens.image.mask
        target = tokens.columns.gather(1, into)
        return [
            torch.stack([columns[some], places[some]])
            for columns, places, some in zip(tokens.columns, target, moved, strict=True)
        ]

    def patches(self, per_picture: int | None = None) -> list[list[Tensor]]:
        """Per sample and picture, int64: which of the picture's image tokens were kept, counted from 0, ascending.

        A picture is an unbroken run of image tokens in ``input_ids``, as most models have between a start and an end
        token; a tile or a frame of a video is one of its own where there is text between them.

        Args:
            per_picture: image tokens of one picture, where that is a fixed number: pictures that touch are told apart.

        Raises:
            VisionFlowError: a run is not so many pictures of `per_picture` tokens.
        """
        return [
            [kept[torch.isin(kept, picture)] - picture[0] for picture in _pictures(columns, per_picture)]
            for kept, columns in zip(self.kept, _image_columns(self.given), strict=True)
        ]


@dataclass
class Trace:
    """Read it after a forward pass or `generate`; a new prompt starts it anew, generated tokens leave it alone.

    Turns that continue on the same cache add their stages and image tokens.

    Attributes:
        num_layers: decoder layers.
        stages: one entry per cut; of adaptive cuts, one per layer before which some sample lost tokens.
        lengths: per layer, the sequence length that was run, fillers and padding included.
        decisions: per turn, the decider of an adaptive method, with what it decided for each sample; see the method.
    """

    num_layers: int
    stages: list[Stage] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    decisions: list[Any] = field(default_factory=list)
    _image: list[list[int]] = field(default_factory=list, repr=False)
    _text: list[int] = field(default_factory=list, repr=False)
    _instruction: list[int] = field(default_factory=list, repr=False)
    _given: list[int] = field(default_factory=list, repr=False)
    _given_rows: int = field(default=0, repr=False)
    _probes: list[tuple[Probed, tuple[int, ...]]] = field(default_factory=list, repr=False)
    _compared: list[tuple[Compared, tuple[int, ...]]] = field(default_factory=list, repr=False)
    _skipped: list[list[int]] = field(default_factory=list, repr=False)
    _forgotten: list[list[int]] = field(default_factory=list, repr=False)
    _blocked: set[int] = field(default_factory=set, repr=False)

    @property
    def rows(self) -> list[int]:
        """What `lengths` were called."""
        return self.lengths

    @property
    def image_tokens(self) -> Tensor:
        """Image tokens present in each layer, int64 ``[num_layers, batch]``."""
        return torch.tensor(self._image, dtype=torch.long)

    def patches(self, stage: int = -1, per_picture: int | None = None) -> list[list[Tensor]]:
        """Where in each picture the tokens are that `stage` (the last, by default) kept; see `Stage.patches`.

        ``trace.patches()[sample][picture]`` counts the image tokens of that picture from 0; where they are a grid, row
        by row, ``divmod(number, columns)`` is row and column.

        Raises:
            VisionFlowError: there is no such stage, or as `Stage.patches`.
        """
        if not -len(self.stages) <= stage < len(self.stages):
            raise VisionFlowError(
                f"there is no stage {stage}: run the model in the scope first; where a method cuts nothing, all stay"
            )
        return self.stages[stage].patches(per_picture)

    @property
    def given_image_tokens(self) -> Tensor:
        """Image tokens that came in, before any cut, int64 ``[batch]``."""
        return torch.tensor(self._given, dtype=torch.long)

    @property
    def text_tokens(self) -> Tensor:
        """The other tokens of the prompt, padding not counted, int64 ``[batch]``."""
        return torch.tensor(self._text, dtype=torch.long)

    @property
    def instruction_tokens(self) -> Tensor:
        """The text tokens that come after a picture, int64 ``[batch]``."""
        return torch.tensor(self._instruction, dtype=torch.long)

    @property
    def work(self) -> Work:
        """What each place in the batch went through, fillers and padding included.

        Turns on one cache are taken as one prefill of the whole.
        """
        pairs = [n * n - skipped[-1] for n, skipped in zip(self.lengths, self._skipped, strict=True)]
        cached = [n - dropped[-1] for n, dropped in zip(self.lengths, self._forgotten, strict=True)]
        probes, compared = [probe for probe, _ in self._probes], [each for each, _ in self._compared]
        return Work(self.lengths, pairs, cached, self._given_rows, probes, self._blocked, compared)

    def work_of(self, sample: int) -> Work:
        """What one sample would have gone through by itself, without the padding that its company costs."""
        lengths = [self._text[sample] + images[sample] for images in self._image]
        pairs = [n * n - skipped[sample] for n, skipped in zip(lengths, self._skipped, strict=True)]
        cached = [n - dropped[sample] for n, dropped in zip(lengths, self._forgotten, strict=True)]
        before = [self._text[sample] + self._given[sample], *lengths]
        probes = [
            replace(probe, rows=own[sample], projected=before[probe.layer] if probe.projected else 0)
            for probe, own in self._probes
            if own[sample]
        ]
        compared = [replace(each, pairs=own[sample]) for each, own in self._compared if own[sample]]
        blocked = self._blocked if any(images[sample] for images in self._image) else set()
        return Work(lengths, pairs, cached, before[0], probes, blocked, compared)

    def of_prompt(self, batch: int) -> Self:
        """An empty trace for a prompt of `batch` samples."""
        return replace(
            self,
            stages=[],
            decisions=[],
            lengths=[0] * self.num_layers,
            _given=[0] * batch,
            _given_rows=0,
            _probes=[],
            _compared=[],
            _blocked=set(),
            _image=[[0] * batch for _ in range(self.num_layers)],
            _text=[0] * batch,
            _instruction=[0] * batch,
            _skipped=[[0] * (batch + 1) for _ in range(self.num_layers)],
            _forgotten=[[0] * (batch + 1) for _ in range(self.num_layers)],
        )

    def of_turn(self, batch: int) -> Self:
        """A trace that goes on from this one; an empty one after another batch."""
        if len(self._text) != batch:
            return self.of_prompt(batch)
        lists: dict[str, Any] = {
            name: copy(value) for name, value in vars(self).items() if isinstance(value, list | set)
        }
        return replace(self, **lists)

    def note_given(self, tokens: Tokens) -> None:
        """Note the tokens that come in."""
        self._given = _sum(self._given, tokens.image.counts)
        self._given_rows += tokens.columns.shape[1]

    def count(self, layer: int, tokens: Tokens) -> None:
        """Note the tokens that layer `layer` is about to see; host integers only."""
        self.lengths[layer] += tokens.columns.shape[1]
        self._image[layer] = _sum(self._image[layer], tokens.image.counts)
        if layer == 0:
            self._text = _sum(self._text, tokens.system.counts, tokens.instruction.counts)
            self._instruction = _sum(self._instruction, tokens.instruction.counts)

    def note_probe(self, probe: Probed, rows: Sequence[int]) -> None:
        """Note a probe: of how many rows of each place in the batch, and of how many `rows` of each sample alone."""
        self._probes.append((probe, tuple(rows)))

    def note_compared(self, compared: Compared, samples: Sequence[int]) -> None:
        """Note the products of features that a choice took: in each place of the batch, and in each sample alone."""
        if compared.pairs:
            self._compared.append((compared, tuple(samples)))

    def note_skipped(self, layer: int, samples: Sequence[int], place: int, blocked: bool) -> None:
        """Note the pairs that were left uncomputed in `layer`: of each sample alone, and of each place in the batch.

        `blocked` says that all pairs of image tokens are among them.
        """
        self._skipped[layer] = [*samples, place]
        if blocked:
            self._blocked.add(layer)

    def note_forgotten(self, layer: int, samples: Sequence[int], place: int) -> None:
        """Note the tokens that the cache of `layer` does not hold: of each sample alone, of each place in the batch."""
        self._forgotten[layer] = [*samples, place]


def _image_columns(tokens: Tokens) -> list[Tensor]:
    """Per sample, the columns of the image tokens, on the host."""
    columns, image = tokens.columns.cpu(), tokens.image.mask.cpu()
    return [columns[sample][image[sample]] for sample in range(len(columns))]


def _pictures(columns: Tensor, per_picture: int | None) -> list[Tensor]:
    """The columns of each picture, of all `columns` of image tokens of one sample."""
    breaks = (columns.diff() > 1).nonzero().flatten() + 1
    runs = list(columns.tensor_split(breaks)) if len(columns) else []
    if per_picture is None:
        return runs
    odd = [len(run) for run in runs if per_picture < 1 or len(run) % per_picture]
    if odd:
        raise VisionFlowError(f"{odd[0]} image tokens in a row are no pictures of {per_picture}: leave per_picture out")
    return [picture for run in runs for picture in torch.split(run, per_picture)]


def _sum(*counts: Sequence[int]) -> list[int]:
    return [sum(sample) for sample in zip(*counts, strict=True)]
