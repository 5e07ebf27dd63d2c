"""What saliency measures, as functions of tensors: the objectives, and two readings of HiMAP's eq. 1 to 6."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Objective = Literal["loss", "logit", "margin"]
ConventionName = Literal["paper", "released"]

MEASURES = ("s_sys", "s_img", "s_ins", "s_vv", "s_vt")
SYSTEM, IMAGE, INSTRUCTION = range(3)

# -- what is differentiated: from logits [batch, vocabulary] and targets [batch] to one number per sample --------------


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(logits, targets, reduction="none")


def _minus_logit(logits: Tensor, targets: Tensor) -> Tensor:
    return -logits.gather(1, targets.unsqueeze(1)).squeeze(1)


def _minus_margin(logits: Tensor, targets: Tensor) -> Tensor:
    best_other = logits.scatter(1, targets.unsqueeze(1), -torch.inf).amax(1)
    return best_other + _minus_logit(logits, targets)


OBJECTIVES: dict[Objective, Callable[[Tensor, Tensor], Tensor]] = {
    "loss": _cross_entropy,
    "logit": _minus_logit,
    "margin": _minus_margin,
}

# -- what is made of A and its gradient --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Convention:
    """One reading of eq. 1 to 6.

    Attributes:
        matrix: from A and dL/dA ``[batch, heads, rows, keys]`` to the saliency matrix ``[batch, rows, keys]``.
        measures: from the flows ``[..., 3, 3]`` into and out of each region (rows read columns) and the sizes of the
            regions ``[..., 3]`` to the five measures, in the order of `MEASURES`.
    """

    matrix: Callable[[Tensor, Tensor], Tensor]
    measures: Callable[[Tensor, Tensor], tuple[Tensor, ...]]


def _paper_matrix(weights: Tensor, gradient: Tensor) -> Tensor:
    return (weights * gradient).sum(1).abs()


def _paper_measures(flows: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
    out_of_each = flows.sum(-2) / sizes.clamp(min=1)
    per_image_token = flows[..., IMAGE] / sizes[..., IMAGE, None]
    return *out_of_each.unbind(-1), per_image_token[..., IMAGE], per_image_token[..., INSTRUCTION]


def _released_matrix(weights: Tensor, gradient: Tensor) -> Tensor:
    return (weights.square() * gradient).abs().mean(1)


def _released_measures(flows: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
    into_each = flows.sum(-1) / sizes.clamp(min=1)
    return *into_each.unbind(-1), flows[..., IMAGE, IMAGE], flows[..., INSTRUCTION, IMAGE]


CONVENTIONS: dict[ConventionName, Convention] = {
    "paper": Convention(_paper_matrix, _paper_measures),
    "released": Convention(_released_matrix, _released_measures),
}
