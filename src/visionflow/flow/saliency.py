"""Saliency: how much of the loss hangs on each flow between tokens, layer by layer (HiMAP, eq. 1 to 6).

Each layer's saliency matrix is summed, chunk by chunk, into the flows between the three regions of the prompt. These
3 x 3 numbers per layer and sample are all that is kept, and every measure is read off them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from visionflow.core import Tokens
from visionflow.core.attention import exact
from visionflow.engines.hf.families import check_head
from visionflow.errors import UnsupportedUsageError, VisionFlowError
from visionflow.flow.gradients import AttentionGradient, backward
from visionflow.flow.lengths import tokens_of
from visionflow.flow.saliency_measures import CONVENTIONS, MEASURES, OBJECTIVES, Convention, ConventionName, Objective


@dataclass(frozen=True, eq=False)
class Saliency:
    """The saliency of some samples, layer by layer.

    Attributes:
        per_sample: for each of `MEASURES`, fp32 (fp64 of an fp64 model) ``[samples, num_layers]``, on the CPU.
        objective, convention, normalised: how they were computed, see `saliency`.
    """

    per_sample: Mapping[str, Tensor]
    objective: Objective
    convention: ConventionName
    normalised: bool

    @property
    def s_sys(self) -> Tensor:
        """How much a system token is read (eq. 2), mean over samples, ``[num_layers]``."""
        return self.per_sample["s_sys"].mean(0)

    @property
    def s_img(self) -> Tensor:
        """How much an image token is read (eq. 3), mean over samples, ``[num_layers]``."""
        return self.per_sample["s_img"].mean(0)

    @property
    def s_ins(self) -> Tensor:
        """How much an instruction token is read (eq. 4), mean over samples, ``[num_layers]``."""
        return self.per_sample["s_ins"].mean(0)

    @property
    def s_vv(self) -> Tensor:
        """Flow among image tokens (eq. 5), mean over samples, ``[num_layers]``."""
        return self.per_sample["s_vv"].mean(0)

    @property
    def s_vt(self) -> Tensor:
        """Flow from image to instruction tokens (eq. 6), mean over samples, ``[num_layers]``."""
        return self.per_sample["s_vt"].mean(0)

    @property
    def num_samples(self) -> int:
        """Samples that the profile is of."""
        return len(self.per_sample["s_img"])

    @classmethod
    def joined(cls, parts: Sequence["Saliency"]) -> "Saliency":
        """One profile of the samples of all `parts`, for example the batches of a data set.

        Raises:
            VisionFlowError: there are none, or they were computed in different ways or on models of different depth.
        """
        if not parts:
            raise VisionFlowError("there is nothing to join: compute the saliency of at least one batch")
        ways = {(part.objective, part.convention, part.normalised, part.s_img.shape) for part in parts}
        if len(ways) > 1:
            raise VisionFlowError("these profiles differ in objective, convention, normalisation or number of layers")
        samples = {name: torch.cat([part.per_sample[name] for part in parts]) for name in MEASURES}
        return cls(samples, parts[0].objective, parts[0].convention, parts[0].normalised)

    def rows(self) -> list[dict[str, float]]:
        """One row per layer: ``{"layer": 0, "s_sys": ..., ...}``, means over samples."""
        means = {name: values.mean(0).tolist() for name, values in self.per_sample.items()}
        layers = range(self.s_img.shape[0])
        return [{"layer": layer} | {name: means[name][layer] for name in MEASURES} for layer in layers]

    def to_dict(self) -> dict[str, Any]:
        """The profile as plain data for JSON, without the samples' own values."""
        return {
            "objective": self.objective,
            "convention": self.convention,
            "normalised": self.normalised,
            "samples": self.num_samples,
            "layers": self.rows(),
        }

    def _repr_html_(self) -> str:
        """The measures by layer, as a notebook shows them."""
        from visionflow.report.notebook import saliency_html

        return saliency_html(self)


@torch.inference_mode(False)
def saliency(
    model: PreTrainedModel,
    inputs: Mapping[str, Any],
    target_ids: Tensor | Sequence[int],
    *,
    objective: Objective = "loss",
    convention: ConventionName = "paper",
    normalised: bool = False,
) -> Saliency:
    """How much system, image and instruction tokens matter to the answer in each layer (HiMAP, eq. 1 to 6).

    ::

        profile = saliency(model, processor(images, prompts, padding=True, return_tensors="pt"), answer_ids)
        profile.s_vv, profile.s_vt  # Figure 3: flow among image tokens, and from them to the question

    I_l = abs(sum_h A_h * dL/dA_h), and I_l[i, j] is the flow from token j into token i. S_sys, S_img and S_ins sum
    the columns of a region; S_vv has i and j in the image, S_vt has i in the instruction and j in the image. Each is
    divided by the number of tokens of the region that is read (the image, for the last two). Padding belongs to no
    region. Eq. 6 as printed has i and j of S_vt swapped, which a causal mask makes zero where the picture comes first.
    Where a model lets text between pictures read later ones (PaliGemma, Molmo 2), S_vt counts that, too, which HiMAP's
    phi_sh does not.

    The model runs once forward and once backward; no parameter gets a gradient, no map of heads x n x n is kept, and
    the model is left as it was. Use sdpa attention: with eager, autograd keeps every layer's map for itself.

    Args:
        model: a model of `visionflow.engines.hf.families.FAMILIES`, in eval mode, with sdpa or eager attention.
        inputs: what its processor gives for one or more prompts with pictures, padded on either side.
        target_ids: first token of the right answer to each prompt, int ``[batch]``.
        objective: what is differentiated, from the logits at the last token of each prompt, in fp32: "loss" is the
            cross-entropy of the target; "logit" is minus the target's logit, and "margin" that plus the highest
            other logit: they do not vanish where the model is sure and right.
        convention: "paper", or "released": what the authors' published script computes and plots, which is the mean
            over heads of abs(A^2 * dL/dA), summed over rows (what a region reads) instead of columns, with S_vv and
            S_vt not divided.
        normalised: divide each sample's flows by their sum over all layers and pairs of tokens, so that every
            sample weighs the same in the mean; else those with steep losses weigh more.

    Returns:
        The profile of this batch. An empty system region has S_sys 0.

    Raises:
        UnsupportedModelError: the model is not supported.
        UnsupportedUsageError: a sample has no picture or no text after it; the model is in training mode, in a pruning
            scope, or overflows its dtype.
        VisionFlowError: an unknown objective or convention, targets that do not fit, or `normalised` where a sample's
            gradient is zero.
    """
    differentiate, reading = _choice(OBJECTIVES, objective, "objective"), _choice(CONVENTIONS, convention, "convention")
    check_head(model)
    tokens = tokens_of(model, inputs)
    _check_regions(tokens)
    targets = _checked(target_ids, len(tokens.valid), model.config.get_text_config().vocab_size)
    columns, place = torch.unique(tokens.last.index()[0].squeeze(1), return_inverse=True)
    regions = torch.stack([tokens.system.mask, tokens.image.mask, tokens.instruction.mask], dim=2)
    flows: dict[int, Tensor] = {}

    def loss() -> Tensor:
        logits = model(**inputs, use_cache=False, logits_to_keep=columns).logits
        of_samples = logits[torch.arange(len(logits)), place.to(logits.device)]
        return differentiate(exact(of_samples), targets.to(logits.device)).sum()

    def visit(seen: AttentionGradient) -> None:
        flows[seen.layer] = _flows(seen, regions, reading)

    backward(model, loss, visit)
    stacked = torch.stack([flows[layer].cpu() for layer in sorted(flows)], dim=1)
    _check_finite(stacked)
    if normalised:
        stacked = stacked / _totals(stacked)
    measures = reading.measures(stacked, regions.sum(1, keepdim=True).cpu())
    return Saliency(dict(zip(MEASURES, measures, strict=True)), objective, convention, normalised)


def _flows(seen: AttentionGradient, regions: Tensor, reading: Convention) -> Tensor:
    """The saliency matrix summed over pairs of regions: ``[batch, 3, 3]``, rows read columns."""
    total = torch.zeros((), device=seen.output.device)
    for index, weights, gradient in seen.chunks():
        matrix = reading.matrix(weights, gradient)
        members = regions.to(matrix)
        reading_rows = members.gather(1, index.unsqueeze(2).expand(-1, -1, members.shape[2]))
        total = total + reading_rows.transpose(1, 2) @ matrix @ members
    return total


def _totals(flows: Tensor) -> Tensor:
    """The sum of all flows of each sample, ``[samples, 1, 1, 1]``."""
    totals = flows.sum((1, 2, 3), keepdim=True)
    flat = torch.nonzero(totals.flatten() == 0).flatten().tolist()
    if flat:
        raise VisionFlowError(
            f"the gradient of sample {flat[0]} is zero, so its saliency cannot be normalised: "
            "use objective='logit' or 'margin', or leave the sample out"
        )
    return totals


# -- what is refused ---------------------------------------------------------------------------------------------------

Entry = TypeVar("Entry")


def _choice(table: Mapping[Any, Entry], name: str, kind: str) -> Entry:
    if name not in table:
        raise VisionFlowError(f"{name!r} is no {kind} of saliency: use one of {', '.join(table)}")
    return table[name]


def _check_regions(tokens: Tokens) -> None:
    for sample, (image, instruction) in enumerate(zip(tokens.image.counts, tokens.instruction.counts, strict=True)):
        if not image:
            raise UnsupportedUsageError(
                f"sample {sample} has no picture, so no image tokens to measure: leave it out of the batch"
            )
        if not instruction:
            raise UnsupportedUsageError(
                f"no text follows the picture in sample {sample}: put the question after the image token"
            )


def _checked(target_ids: Tensor | Sequence[int], batch: int, vocabulary: int) -> Tensor:
    targets = torch.as_tensor(target_ids)
    if targets.shape != (batch,) or targets.dtype.is_floating_point or targets.dtype == torch.bool:
        raise VisionFlowError(
            f"target_ids must be {batch} token ids, one per prompt, "
            f"not {str(targets.dtype).removeprefix('torch.')} {list(targets.shape)}"
        )
    if not 0 <= int(targets.min()) <= int(targets.max()) < vocabulary:
        raise VisionFlowError(f"target_ids must lie between 0 and {vocabulary - 1}: {targets.tolist()}")
    return targets.long().clone()  # no inference tensor of the caller's: the graph keeps it


def _check_finite(flows: Tensor) -> None:
    if not bool(flows.isfinite().all()):
        raise UnsupportedUsageError(
            "the gradients are not finite in the model's dtype: load it in bfloat16 or float32 (float16 overflows)"
        )
