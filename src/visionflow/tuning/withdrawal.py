"""Where VTW may withdraw the image tokens: the earliest layer that leaves the next token nearly as it was."""

from collections.abc import Iterable

import torch
from torch import Tensor
from transformers import PreTrainedModel

from visionflow.core.plan import Plan
from visionflow.engines.hf.families import check_head, family_of
from visionflow.engines.hf.scope import Scope
from visionflow.errors import VisionFlowError
from visionflow.methods.base import check_layer
from visionflow.methods.vtw import VTW
from visionflow.tuning.answered import Prompts, checked, kl, log_probabilities
from visionflow.tuning.progress import OnStep, silent


def search(
    model: PreTrainedModel,
    batches: Iterable[Prompts],
    threshold: float = 3e-3,
    first: int = 5,
    on_step: OnStep = silent,
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
        on_step: told after each k, see `visionflow.tuning.progress`.

    Raises:
        UnsupportedModelError: the model is not supported, or has no head.
        VisionFlowError: no prompts, or no k is good enough.
    """
    check_head(model)
    check_layer("first", first)
    batches = checked(batches, "the search")
    full = [_next_token(model, batch, Plan()) for batch in batches]
    depth = len(family_of(model).layers_of(model))
    smallest = float("inf")
    for k in range(first, depth):
        there = [_next_token(model, batch, VTW(k).plan()) for batch in batches]
        divergence = torch.cat([kl(pruned, dense) for pruned, dense in zip(there, full, strict=True)])
        smallest = min(smallest, float(divergence.mean()))
        on_step(f"withdrawal before layer {k}", k - first + 1, depth - first)
        if smallest <= threshold:
            return VTW(k)
    raise VisionFlowError(
        f"no withdrawal layer from {first} to {depth - 1} has a divergence of at most {threshold}: the smallest is "
        f"{smallest:.3g}; raise the threshold"
    )


@torch.inference_mode()
def _next_token(model: PreTrainedModel, batch: Prompts, plan: Plan) -> Tensor:
    """Log-probabilities of the token after the prompt, ``[batch, vocabulary]`` in fp32, or fp64 of an fp64 model."""
    with Scope(model, plan):
        logits: Tensor = model(**batch, use_cache=False, logits_to_keep=1).logits
    return log_probabilities(logits[:, -1])
