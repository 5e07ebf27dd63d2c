"""Sinks among the image tokens: much attended, and little to give. L1 norms of values beside the attention received."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from visionflow.core.attention import exact
from visionflow.core.flows import Watch
from visionflow.core.layer import LayerAttention
from visionflow.errors import VisionFlowError
from visionflow.flow.attention_maps import mean_read, number, numbers
from visionflow.flow.watching import layers_or_all, of_image, run_prompt

Readers = Literal["last", "instruction"]


@dataclass(frozen=True)
class ValueNorms:
    """How large the image tokens' values are, and how much they are read.

    Attributes:
        layers: the 0-based decoder layers.
        columns: per sample, int64 ``[image_tokens]``: columns of ``input_ids``, padding counted.
        norms: per sample, fp32 ``[layers, image_tokens]``: L1 norm of the values, summed over key-value heads.
        from_last: the same shapes: attention received from the last prompt token, mean over heads.
        from_instruction: attention received from the instruction tokens, mean over heads and rows; NaN where no
            text follows the picture.
    """

    layers: tuple[int, ...]
    columns: list[Tensor]
    norms: list[Tensor]
    from_last: list[Tensor]
    from_instruction: list[Tensor]

    def rows(self) -> list[dict[str, Any]]:
        """One row per sample and layer, fit for JSON: None where there is no number."""
        return [
            {
                "sample": sample,
                "layer": layer,
                "columns": self.columns[sample].tolist(),
                "norms": numbers(self.norms[sample][place]),
                "from_last": numbers(self.from_last[sample][place]),
                "from_instruction": numbers(self.from_instruction[sample][place]),
            }
            for sample in range(len(self.columns))
            for place, layer in enumerate(self.layers)
        ]


@dataclass(frozen=True)
class Sinks:
    """The image tokens that are sinks, layer by layer.

    Attributes:
        layers: the 0-based decoder layers.
        columns: per sample and layer, int64: columns of ``input_ids`` of the sinks, ascending.
        shares: fp32 ``[batch, layers]``: of the attention that the picture receives, the part that sinks receive; NaN
            where it receives none.
    """

    layers: tuple[int, ...]
    columns: list[list[Tensor]]
    shares: Tensor

    def rows(self) -> list[dict[str, Any]]:
        """One row per sample and layer, fit for JSON: None where there is no number."""
        return [
            {
                "sample": sample,
                "layer": layer,
                "columns": columns.tolist(),
                "share": number(self.shares[sample, place].item()),
            }
            for sample in range(len(self.columns))
            for place, (layer, columns) in enumerate(zip(self.layers, self.columns[sample], strict=True))
        ]


def value_norms(model: PreTrainedModel, inputs: Mapping[str, Any], layers: Sequence[int] | None = None) -> ValueNorms:
    """L1 norms of the image tokens' values, and the attention they receive, per layer.

    ``sum_h sum_d |v_h,d|`` as VisiPruner's notebook has it, for every layer and beside two readers.

    Args:
        model: a model of `visionflow.engines.hf.families.FAMILIES`, in eval mode, with sdpa or eager attention.
        inputs: the processor's batch, padded on either side.
        layers: 0-based decoder layers; all for None.

    Raises:
        UnsupportedModelError: the model is not supported.
        UnsupportedUsageError: no such layer, no ``input_ids`` or a KV cache in `inputs`, training mode, or a
            scope is open on the model.
    """
    chosen = layers_or_all(model, layers)
    found: dict[int, Tensor] = {}

    def see(attention: LayerAttention) -> None:
        norms = exact(attention.value).abs().sum((1, 3)).float()
        readers = [mean_read(attention, "last"), mean_read(attention, "instruction")]
        found[attention.layer] = torch.stack([norms, *readers], 1).cpu()

    tokens = run_prompt(model, inputs, Watch(chosen, see)).to(torch.device("cpu"))
    norms, from_last, from_instruction = (
        of_image(values, tokens) for values in torch.stack([found[layer] for layer in chosen], 2).unbind(1)
    )
    return ValueNorms(chosen, of_image(tokens.columns, tokens), norms, from_last, from_instruction)


def sinks(
    values: ValueNorms, norm_below: float = 0.5, attention_above: float = 2.0, readers: Readers = "last"
) -> Sinks:
    """The image tokens with small values that are much attended, in each sample and layer.

    A token is a sink where its value norm is below `norm_below` times the median of the sample's image tokens in that
    layer, and the attention it receives is above `attention_above` times their mean. In VisiPruner's figure of
    LLaVA-1.5-7B the sinks have some 200 to 300 where most tokens have 820.

    Args:
        values: what `value_norms` found.
        norm_below: factor of the median norm.
        attention_above: factor of the mean attention.
        readers: whose attention counts: that of the last prompt token, or of the instruction.

    Raises:
        VisionFlowError: a factor is not positive, or there are no such readers.
    """
    if norm_below <= 0 or attention_above <= 0:
        raise VisionFlowError(
            f"norm_below={norm_below} and attention_above={attention_above} are factors: both must be positive"
        )
    received = {"last": values.from_last, "instruction": values.from_instruction}.get(readers)
    if received is None:
        raise VisionFlowError(f"there are no readers {readers!r}: use 'last' or 'instruction'")
    columns, shares = [], []
    for norms, attention, places in zip(values.norms, received, values.columns, strict=True):
        small = norms < norm_below * _median(norms)
        found = small & (attention > attention_above * attention.mean(1, keepdim=True))
        columns.append([places[layer] for layer in found])
        shares.append((attention * found).sum(1) / attention.sum(1))
    return Sinks(values.layers, columns, torch.stack(shares))


def _median(values: Tensor) -> Tensor:
    """``[layers, 1]``, halfway between the middle two of an even number; NaN where there are none."""
    padded = values if values.shape[1] else values.new_full((len(values), 1), torch.nan)
    return padded.quantile(0.5, dim=1, keepdim=True)
