"""Thresholds for VisiPruner from a model's own prompts: the printed ones are those of LLaVA-1.5."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from visionflow.core.contribution import contribution
from visionflow.core.flows import Watch
from visionflow.core.layer import LayerAttention
from visionflow.core.plan import Plan
from visionflow.engines.hf.layer_kinds import depth_of
from visionflow.engines.hf.scope import Scope
from visionflow.errors import VisionFlowError
from visionflow.methods.visipruner import VisiPruner
from visionflow.tuning.answered import Prompts, checked
from visionflow.tuning.progress import OnStep, silent


def calibrate(
    model: PreTrainedModel,
    batches: Iterable[Prompts],
    method: VisiPruner | None = None,
    *,
    fires: float = 0.9,
    kept: float = 10.0,
    on_step: OnStep = silent,
) -> VisiPruner:
    """`method` with thresholds by which it fires in most prompts, as late as that allows, and keeps few tokens.

    The prompts are run once, dense but for the shallow phase. With s and m as in `VisiPruner`:

    - ``layer_threshold`` is the lowest for which a share `fires` of the prompts has a layer with a smaller s: each
      fires near the layer where one image token matters most to it;
    - ``token_threshold`` is the one that `kept` tokens of a prompt exceed on average, in the layers that fire then.

    These are proposals from the attention alone: what they cost in accuracy, `visionflow eval` tells.

    ::

        method = calibrate(model, batches, VisiPruner(shallow_layers=2, token_scale="relative"))

    Args:
        model: a supported model.
        batches: prompts with pictures, as the processor gives them; some dozens are enough.
        method: whose thresholds are replaced; ``VisiPruner()`` by default.
        fires: share of the prompts that are to have a layer that fires, above 0 and at most 1.
        kept: image tokens kept on average, at least 1.
        on_step: told after each batch, see `visionflow.tuning.progress`.

    Raises:
        VisionFlowError: `fires` or `kept` is out of range, there are no prompts with pictures, or too few image tokens.
        UnsupportedUsageError: the model is too shallow for `method`.
    """
    method = VisiPruner() if method is None else method
    if "middle" not in method.phases:
        raise VisionFlowError("the thresholds are those of the middle phase: give a method with 'middle' in its phases")
    if not 0 < fires <= 1 or not kept >= 1:
        raise VisionFlowError(f"fires is a share above 0 and at most 1, kept at least 1, not {fires} and {kept}")
    lowest, norms = _statistics(model, checked(batches, "calibration"), method, on_step)
    layer_threshold = _just_above(float(lowest.min(1).values.sort().values[math.ceil(fires * len(lowest)) - 1]))
    layer_fires = lowest < layer_threshold
    firing = layer_fires[layer_fires.any(1)].int().argmax(1)
    if not len(firing):
        raise VisionFlowError(
            "no image token matters in any layer of these prompts: give prompts that need the picture"
        )
    fired = [norms[sample] for sample in layer_fires.any(1).nonzero()[:, 0].tolist()]
    pooled = torch.cat([of_layers[layer] for of_layers, layer in zip(fired, firing.tolist(), strict=True)])
    count = round(kept * len(fired))
    if count >= len(pooled):
        raise VisionFlowError(f"kept={kept} is no fewer than the image tokens of these prompts: choose fewer")
    largest = pooled.sort(descending=True).values
    token_threshold = float(largest[count - 1] + largest[count]) / 2
    return VisiPruner(**{**vars(method), "layer_threshold": layer_threshold, "token_threshold": token_threshold})


@torch.inference_mode()
def _statistics(
    model: PreTrainedModel, batches: list[Prompts], method: VisiPruner, on_step: OnStep
) -> tuple[Tensor, list[list[Tensor]]]:
    """The lowest s of each prompt and layer, ``[prompts, layers]``, and by prompt and layer the m of all tokens."""
    method.plan().check_depth(depth := depth_of(model.config))
    lowest: list[Tensor] = []
    norms: list[list[Tensor]] = []
    for done, batch in enumerate(batches, start=1):
        layers: list[tuple[Tensor, list[Tensor]]] = []

        def look(attention: LayerAttention, layers: list[Any] = layers) -> None:
            image = attention.tokens.image
            shown = contribution(attention.rows_of("last"), attention.value)
            norm = shown.norm / shown.output_norm if method.token_scale == "relative" else shown.norm
            pictured = [sample for sample, count in enumerate(image.counts) if count]
            smallest = shown.similarity.masked_fill(~image.mask, 1.0).amin(1)
            layers.append((smallest[pictured], [norm[sample][image.mask[sample]] for sample in pictured]))

        watch = Watch(range(method.shallow_layers, depth - 1), look)
        with Scope(model, Plan(blocks=method.blocks(), watches=(watch,))):
            model(**batch, use_cache=False, logits_to_keep=1)
        lowest.append(torch.stack([smallest for smallest, _ in layers], 1))
        norms += [list(sample) for sample in zip(*(norm for _, norm in layers), strict=True)]
        on_step("what each layer shows", done, len(batches))
    if not norms:
        raise VisionFlowError("calibration needs at least one prompt with a picture")
    return torch.cat(lowest).float().cpu(), norms


def _just_above(value: float) -> float:
    return min(1.0, math.nextafter(value, 2.0) + 1e-6)
