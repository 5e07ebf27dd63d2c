"""What the runtime is checked against: written from the definitions, without the runtime's own code."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.tiny import IMAGE_TOKEN
from visionflow import Method
from visionflow.runtime import Cut

HIDDEN = torch.finfo(torch.float32).min


def image_columns(inputs: dict[str, Any], sample: int) -> list[int]:
    """Columns of the image tokens of one sample."""
    return torch.nonzero(inputs["input_ids"][sample] == IMAGE_TOKEN).flatten().tolist()


def instruction_columns(inputs: dict[str, Any], sample: int) -> list[int]:
    """Columns of the text tokens after the first image token; padding belongs to no group."""
    ids, mask = inputs["input_ids"][sample].tolist(), inputs["attention_mask"][sample].tolist()
    first = ids.index(IMAGE_TOKEN) if IMAGE_TOKEN in ids else len(ids)
    return [
        i for i, (token, real) in enumerate(zip(ids, mask, strict=True)) if real and i > first and token != IMAGE_TOKEN
    ]


@contextmanager
def masked_from(model: PreTrainedModel, dropped: dict[int, list[list[int]]]) -> Iterator[None]:
    """Run all tokens, but from layer l on nobody reads the columns ``dropped[l][sample]``."""

    def hide(layer: int) -> Any:
        def hook(module: Any, args: Any, kwargs: Any) -> Any:
            hidden, mask = args[0], kwargs["attention_mask"]
            batch, rows = hidden.shape[:2]
            keys = mask.shape[-1] if mask is not None else rows
            allowed = torch.ones(rows, keys, dtype=torch.bool).tril(keys - rows).expand(batch, 1, -1, -1)
            if mask is not None:
                allowed = (mask if mask.dtype == torch.bool else mask > HIDDEN).expand(batch, 1, -1, -1)
            allowed = allowed.clone()
            for at, samples in dropped.items():
                if at <= layer:
                    for sample, columns in enumerate(samples):
                        allowed[sample, :, :, columns] = False
            additive = torch.zeros(allowed.shape, dtype=hidden.dtype).masked_fill(~allowed, HIDDEN)
            return args, {**kwargs, "attention_mask": additive}

        return hook

    layers = model.model.language_model.layers
    handles = [layer.register_forward_pre_hook(hide(i), with_kwargs=True) for i, layer in enumerate(layers)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class Keep(Method):
    """A method that keeps given columns per sample, at given layers."""

    name = "keep"

    def __init__(self, kept: dict[int, list[Tensor]]) -> None:
        self.kept = kept

    def cuts(self) -> tuple[Cut, ...]:
        """One cut per layer, of as many tokens as are given."""
        return tuple(Cut(layer, None, score=self._score(layer)) for layer in sorted(self.kept))

    def _score(self, layer: int) -> Any:
        def score(tokens: Any) -> Tensor:
            batch, samples = tokens.columns.shape[0], self.kept[layer]
            repeat = batch // len(samples)  # beams and returned sequences repeat each sample
            return torch.stack(
                [torch.isin(tokens.columns[row], samples[row // repeat]) for row in range(batch)]
            ).float()

        return score

    @classmethod
    def of(cls, trace: Any) -> "Keep":
        """The kept set of a finished run."""
        return cls({stage.layer: stage.kept for stage in trace.stages})
