"""Saliency from its definition: every map an explicit tensor that autograd differentiates, one sample at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.llama import modeling_llama

from tests.matrix import model_of
from tests.reference import image_columns, instruction_columns
from tests.tiny import LAYERS, Prompt

LOSSES = {
    "loss": lambda logits, target: -logits.log_softmax(0)[target],
    "logit": lambda logits, target: -logits[target],
    "margin": lambda logits, target: max(x for i, x in enumerate(logits) if i != target) - logits[target],
}


@contextmanager
def perturbed(change: list[Tensor | None]) -> Iterator[list[Tensor]]:
    """Eager attention whose A of layer l is A + ``change[l]``; yields the list that the maps A are put on."""
    maps: list[Tensor] = []

    def attention(
        module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        key, value = (x.repeat_interleave(module.num_key_value_groups, 1) for x in (key, value))
        rows = query.shape[2]
        scores = query @ key.transpose(2, 3) * kwargs["scaling"]
        scores = scores.masked_fill(torch.ones(rows, rows).triu(1).bool(), -torch.inf)
        weights = scores.softmax(-1)
        maps.append(weights.detach())
        extra = change[module.layer_idx]
        if extra is not None:
            weights = weights + extra
        return (weights @ value).transpose(1, 2).contiguous(), weights

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modeling_llama, "eager_attention_forward", attention)
        yield maps


def reference_loss(model: PreTrainedModel, prompt: Prompt, target: int, objective: str = "loss") -> Tensor:
    """The objective at the last token of an unpadded prompt; with the eager fp64 model only."""
    inputs = prompt.inputs | {"pixel_values": prompt.pictures.double()}
    loss: Tensor = LOSSES[objective](model(**inputs).logits[0, -1], target)
    return loss


def maps_and_gradients(
    family: str, prompt: Prompt, target: int, objective: str = "loss"
) -> tuple[list[Tensor], list[Tensor]]:
    """A and dL/dA of each layer, fp64 ``[heads, n, n]``."""
    model = model_of(family, "eager", torch.float64)
    heads, n = model.config.text_config.num_attention_heads, len(prompt.ids)
    changes = [torch.zeros(1, heads, n, n, dtype=torch.float64, requires_grad=True) for _ in range(LAYERS)]
    with perturbed([*changes]) as maps:
        gradients = torch.autograd.grad(reference_loss(model, prompt, target, objective), changes)
    return [weights[0] for weights in maps], [gradient[0] for gradient in gradients]


def regions_of(prompt: Prompt) -> tuple[list[int], list[int], list[int]]:
    """Columns of the system, image and instruction tokens of an unpadded prompt."""
    image, instruction = image_columns(prompt.inputs, 0), instruction_columns(prompt.inputs, 0)
    return [i for i in range(len(prompt.ids)) if i not in {*image, *instruction}], image, instruction


def summed(matrix: Tensor, rows: list[int], columns: list[int]) -> float:
    """The sum of ``matrix[i, j]`` over i in `rows` and j in `columns`."""
    return sum(float(matrix[i, j]) for i in rows for j in columns)


def paper_matrix(weights: Tensor, gradient: Tensor) -> Tensor:
    """Eq. 1."""
    return (weights * gradient).sum(0).abs()


def reference_saliency(
    family: str, prompt: Prompt, target: int, convention: str = "paper", objective: str = "loss"
) -> dict[str, list[float]]:
    """The five measures of each layer: eq. 2 to 6 with S_vt the right way round, or the released code's."""
    system, image, instruction = regions_of(prompt)
    everything = system + image + instruction
    measures: dict[str, list[float]] = {name: [] for name in ("s_sys", "s_img", "s_ins", "s_vv", "s_vt")}
    for weights, gradient in zip(*maps_and_gradients(family, prompt, target, objective), strict=True):
        if convention == "paper":
            matrix = paper_matrix(weights, gradient)
            measures["s_sys"].append(summed(matrix, everything, system) / len(system))
            measures["s_img"].append(summed(matrix, everything, image) / len(image))
            measures["s_ins"].append(summed(matrix, everything, instruction) / len(instruction))
            measures["s_vv"].append(summed(matrix, image, image) / len(image))
            measures["s_vt"].append(summed(matrix, instruction, image) / len(image))
        else:
            matrix = (weights * weights * gradient).abs().mean(0)
            measures["s_sys"].append(summed(matrix, system, everything) / len(system))
            measures["s_img"].append(summed(matrix, image, everything) / len(image))
            measures["s_ins"].append(summed(matrix, instruction, everything) / len(instruction))
            measures["s_vv"].append(summed(matrix, image, image))
            measures["s_vt"].append(summed(matrix, instruction, image))
    return measures
