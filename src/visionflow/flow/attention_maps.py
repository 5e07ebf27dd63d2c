"""What chosen rows read of the picture, layer by layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from visionflow.core.flows import Watch
from visionflow.core.layer import LayerAttention
from visionflow.core.reductions import received
from visionflow.core.tokens import GroupName, Selection, Tokens
from visionflow.flow.watching import check_selection, layers_or_all, of_image, run_prompt


@dataclass(frozen=True)
class PictureAttention:
    """Attention of some rows over the image tokens, mean over heads and rows, as the softmax gave it.

    The three masses sum to one: divide `image` by `image_mass` for a distribution over the picture. All are NaN for a
    sample without any such row.

    Attributes:
        layers: the 0-based decoder layers.
        columns: per sample, int64 ``[image_tokens]``: columns of ``input_ids``, padding counted.
        image: per sample, fp32 ``[layers, image_tokens]``.
        image_mass, system_mass, instruction_mass: fp32 ``[batch, layers]``, the total over each group of keys.
    """

    layers: tuple[int, ...]
    columns: list[Tensor]
    image: list[Tensor]
    image_mass: Tensor
    system_mass: Tensor
    instruction_mass: Tensor

    def rows(self) -> list[dict[str, Any]]:
        """One row per sample and layer, fit for JSON: None where there is no number."""
        return [
            {
                "sample": sample,
                "layer": layer,
                "columns": self.columns[sample].tolist(),
                "image": numbers(self.image[sample][place]),
                "image_mass": number(self.image_mass[sample, place].item()),
                "system_mass": number(self.system_mass[sample, place].item()),
                "instruction_mass": number(self.instruction_mass[sample, place].item()),
            }
            for sample in range(len(self.columns))
            for place, layer in enumerate(self.layers)
        ]


def picture_attention(
    model: PreTrainedModel,
    inputs: Mapping[str, Any],
    rows: Selection = "last",
    layers: Sequence[int] | None = None,
) -> PictureAttention:
    """Attention of the chosen rows over the picture, per layer, not renormalised.

    The maps of VisiPruner's figures are those of ``rows="last"``. Only the chosen rows are computed, in chunks.

    Args:
        model: a model of `visionflow.engines.hf.families.FAMILIES`, in eval mode, with sdpa or eager attention.
        inputs: the processor's batch, padded on either side.
        rows: the rows that read: "last" (the last prompt token), "instruction", "image", "system", or a function of the
            prompt's tokens that gives bool ``[batch, tokens]``.
        layers: 0-based decoder layers; all for None.

    Raises:
        UnsupportedModelError: the model is not supported.
        UnsupportedUsageError: no such rows, no such layer, no ``input_ids`` or a KV cache in `inputs`, training mode,
            or a scope is open on the model.
    """
    check_selection(rows)
    chosen = layers_or_all(model, layers)
    read: dict[int, Tensor] = {}

    def see(attention: LayerAttention) -> None:
        readers = (lambda tokens: rows(tokens) & tokens.valid) if callable(rows) else rows
        read[attention.layer] = mean_read(attention, readers).cpu()

    tokens = run_prompt(model, inputs, Watch(chosen, see)).to(torch.device("cpu"))
    attention = torch.stack([read[layer] for layer in chosen], 1)
    masses = {name: _mass(attention, tokens, name) for name in ("image", "system", "instruction")}
    return PictureAttention(chosen, of_image(tokens.columns, tokens), of_image(attention, tokens), *masses.values())


def mean_read(attention: LayerAttention, readers: Selection) -> Tensor:
    """What the rows of `readers` pay to each token, mean over heads and rows.

    Returns:
        fp32 ``[batch, tokens]``; NaN for a sample without such a row.
    """
    rows = attention.rows_of(readers)
    return received(rows) / rows.real.sum(1, keepdim=True)


def number(value: float) -> float | None:
    """The number for JSON, which knows no NaN."""
    return None if isnan(value) else value


def numbers(values: Tensor) -> list[float | None]:
    """The entries of a vector for JSON."""
    return [number(value) for value in values.tolist()]


def _mass(attention: Tensor, tokens: Tokens, name: GroupName) -> Tensor:
    """Total ``[batch, layers]`` over one group of keys."""
    return (attention * tokens.group(name).mask.unsqueeze(1)).sum(2)
