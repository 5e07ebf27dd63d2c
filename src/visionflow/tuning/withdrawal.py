"""Where VTW may withdraw the image tokens: the earliest layer that leaves the next token nearly as it was."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from visionflow.core.attention import exact
from visionflow.engines.hf.families import check_head, family_of
from visionflow.engines.hf.scope import Scope
from visionflow.errors import VisionFlowError
from visionflow.methods.base import check_layer
from visionflow.methods.vtw import VTW


def search(
    model: PreTrainedModel, batches: Iterable[Mapping[str, Any]], threshold: float = 3e-3, first: int = 5
) -> VTW:
    """The earliest withdrawal that leaves the next token nearly as it was (the paper's section 3.3).

    With p_k the next-token distribution after the prompt with withdrawal before layer k, and p the model's own:
    ``KL_k = mean over samples of sum_x p_k(x) (log p_k(x) - log p(x))``; the first k >= `first` with
    ``KL_k <= threshold`` is returned. The released code does the same with 20 prompts, first=5 and a threshold
    picked by the model's name: 3e-3 for LLaVA-1.5-7B, 5e-4 for 13B, 1e-4 for LLaVA-1.6-7B.

    Args:
        model: a supported model.
        batches: calibration prompts, as the processor gives them; with padding, on the left.
        threshold: in nats.
        first: the first k tried.

    Raises:
        UnsupportedModelError: the model is not supported, or has no head.
        VisionFlowError: no prompts, or no k is good enough.
    """
    check_head(model)
    check_layer("first", first)
    batches = list(batches)
    if not batches:
        raise VisionFlowError("the search needs at least one calibration prompt")
    full = [_next_token(model, batch) for batch in batches]
    depth = len(family_of(model).layers_of(model))
    smallest = float("inf")
    for k in range(first, depth):
        with Scope(model, VTW(k).plan()):
            divergence = torch.cat([_kl(_next_token(model, batch), p) for batch, p in zip(batches, full, strict=True)])
        smallest = min(smallest, float(divergence.mean()))
        if smallest <= threshold:
            return VTW(k)
    raise VisionFlowError(
        f"no withdrawal layer from {first} to {depth - 1} has a divergence of at most {threshold}: the smallest is "
        f"{smallest:.3g}; raise the threshold"
    )


@torch.inference_mode()
def _next_token(model: PreTrainedModel, batch: Mapping[str, Any]) -> Tensor:
    """Log-probabilities of the token after the prompt, ``[batch, vocabulary]`` in fp32, or fp64 of an fp64 model."""
    logits: Tensor = model(**batch, use_cache=False, logits_to_keep=1).logits
    return exact(logits[:, -1]).log_softmax(-1)


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of each sample, ``[batch]``, in nats."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)
