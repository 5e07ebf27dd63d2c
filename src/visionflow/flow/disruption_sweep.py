"""Disruptions of many samples, one prefill each: figures 4 and 5 of HiMAP."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from transformers import PreTrainedModel

from visionflow.core.flows import BlockMode
from visionflow.engines.hf.families import check_head, family_of
from visionflow.errors import VisionFlowError
from visionflow.flow.consistency import (
    TOP,
    Estimate,
    LogRatio,
    bias,
    consistency,
    jaccard,
    log_ratio,
    same_label,
    top_tokens,
)
from visionflow.flow.disruption import Disruption, TargetName, disrupt
from visionflow.flow.lengths import tokens_of

Inputs: TypeAlias = Mapping[str, Any]
"""Arguments of the model for a batch of prompts, padded on either side, on the model's device."""


@dataclass(frozen=True)
class Effect:
    """What one disruption did to each sample, in the order of the batches.

    Attributes:
        disruption: what was disrupted.
        label_kept: whether the greedy first answer token is what it was.
        jaccard: similarity of the five most likely first tokens to what they were, in [0, 1].
    """

    disruption: Disruption
    label_kept: tuple[bool, ...] = ()
    jaccard: tuple[float, ...] = ()

    def then(self, later: "Effect") -> "Effect":
        """The effect on these samples and on later ones."""
        return Effect(self.disruption, self.label_kept + later.label_kept, self.jaccard + later.jaccard)

    def row(self, seed: int = 0) -> dict[str, Any]:
        """One bar of figure 4, for JSON: what was disrupted, and both consistencies with their intervals.

        On samples that the clean model answers rightly, which is what the paper keeps, label consistency is accuracy.

        Args:
            seed: of the bootstrap.
        """
        return {
            **asdict(self.disruption),
            "samples": len(self.jaccard),
            "label_consistency": asdict(consistency(self.label_kept, seed)),
            "score_consistency": asdict(consistency(self.jaccard, seed)),
        }


@dataclass(frozen=True)
class FlowShift:
    """Which of the two visual flows matters more in a window of layers: one point of figure 5.

    Attributes:
        layers: the window.
        mode: how both flows were disrupted.
        samples: how many.
        e_vv: E of image to image.
        e_vt: E of image to instruction.
        d: ``ln(e_vv / e_vt)``: positive where the intra-visual flow matters more.
    """

    layers: tuple[int, ...]
    mode: BlockMode
    samples: int
    e_vv: Estimate
    e_vt: Estimate
    d: LogRatio

    def row(self) -> dict[str, Any]:
        """The same for JSON; what is undefined is null."""
        return asdict(self)


def first_tokens(model: PreTrainedModel, inputs: Inputs, count: int = TOP) -> Tensor:
    """The `count` most likely first answer tokens of each prompt, best first, from one prefill without a cache.

    Returns:
        int64 ``[batch, count]``, on the host.

    Raises:
        UnsupportedModelError: the model is not supported.
        UnsupportedUsageError: there are no ``input_ids``, or they continue a KV cache.
    """
    check_head(model)
    last = tokens_of(model, inputs).last.index()[0].squeeze(1).cpu()
    columns, place = torch.unique(last, return_inverse=True)  # one column where padding is on the left
    with torch.no_grad():
        logits = model(**inputs, use_cache=False, logits_to_keep=columns).logits
    return top_tokens(logits[torch.arange(len(last)), place], count).cpu()


def sweep(
    model: PreTrainedModel,
    batches: Iterable[Inputs],
    disruptions: Sequence[Disruption],
    on_step: Callable[[Effect], None] | None = None,
) -> list[Effect]:
    """Run every batch clean once, and once under each disruption.

    Args:
        model: as for `disrupt`, outside of any scope.
        batches: each is run with all disruptions before the next is asked for. Samples without a picture have nothing
            to disrupt and count as unchanged: leave them out.
        disruptions: for example of `first_and_last_layers` and `both_flows`.
        on_step: called after each disrupted prefill with the effect on that batch alone. Whoever keeps these can stop
            (by an exception) and go on later with the batches that are left; `Effect.then` joins them.

    Returns:
        One effect per disruption, in their order.

    Raises:
        UnsupportedModelError, UnsupportedUsageError: as for `disrupt`; a layer that the model does not have is refused
            before anything is run.
    """
    _check_depth(model, disruptions)
    effects = [Effect(disruption) for disruption in disruptions]
    for inputs in batches:
        clean = first_tokens(model, inputs)
        for place, disruption in enumerate(disruptions):
            effect = _effect(model, inputs, clean, disruption)
            effects[place] = effects[place].then(effect)
            if on_step is not None:
                on_step(effect)
    return effects


def first_and_last_layers(
    num_layers: int, width: int = 5, seed: int = 0, mode: BlockMode = "renormalise"
) -> list[Disruption]:
    """Figure 4: image to instruction against image to random tokens, in the first and in the last `width` layers.

    Raises:
        VisionFlowError: `width` is not between 1 and `num_layers`.
    """
    _check_window(num_layers, width)
    targets: tuple[tuple[TargetName, int | None], ...] = (("instruction", None), ("random", seed))
    layers = (range(width), range(num_layers - width, num_layers))
    return [Disruption("image", target, part, mode, drawn) for part in layers for target, drawn in targets]


def both_flows(num_layers: int, width: int = 2, stride: int = 1, mode: BlockMode = "renormalise") -> list[Disruption]:
    """Figure 5: image to image and image to instruction, in every window of `width` layers; see `windows`."""
    targets: tuple[TargetName, ...] = ("image", "instruction")
    return [
        Disruption("image", target, window, mode) for window in windows(num_layers, width, stride) for target in targets
    ]


def windows(num_layers: int, width: int, stride: int = 1) -> list[range]:
    """Every `width` layers in a row that start at 0, `stride`, 2 `stride`, ... and end within the model.

    The paper's "every two layers" is ``width=2, stride=2``.

    Raises:
        VisionFlowError: `width` is not between 1 and `num_layers`, or `stride` is below 1.
    """
    _check_window(num_layers, width)
    if stride < 1:
        raise VisionFlowError(f"stride must be at least 1 layer, not {stride}")
    return [range(start, start + width) for start in range(0, num_layers - width + 1, stride)]


def flow_shift(effects: Iterable[Effect], seed: int = 0) -> list[FlowShift]:
    """E_vv, E_vt and D of every window of layers in which both flows were disrupted in the same way.

    Args:
        effects: of `sweep`, on the same samples; those of other flows are passed over.
        seed: of the bootstrap.
    """
    found = {_key(effect.disruption): effect for effect in effects}
    shifts = []
    for (source, target, layers, mode), intra_visual in found.items():
        visual_textual = found.get(("image", "instruction", layers, mode))
        if (source, target) == ("image", "image") and visual_textual is not None:
            shifts.append(_shift(intra_visual, visual_textual, seed))
    return shifts


def _effect(model: PreTrainedModel, inputs: Inputs, clean: Tensor, disruption: Disruption) -> Effect:
    with disrupt(model, **vars(disruption)):
        disrupted = first_tokens(model, inputs)
    kept, similarity = same_label(clean, disrupted), jaccard(clean, disrupted)
    return Effect(disruption, tuple(kept.tolist()), tuple(similarity.tolist()))


def _shift(intra_visual: Effect, visual_textual: Effect, seed: int) -> FlowShift:
    return FlowShift(
        layers=tuple(intra_visual.disruption.layers),
        mode=intra_visual.disruption.mode,
        samples=len(intra_visual.jaccard),
        e_vv=bias(intra_visual.jaccard, seed),
        e_vt=bias(visual_textual.jaccard, seed),
        d=log_ratio(intra_visual.jaccard, visual_textual.jaccard, seed),
    )


def _key(disruption: Disruption) -> tuple[str, str, tuple[int, ...], BlockMode]:
    return disruption.source, disruption.target, tuple(disruption.layers), disruption.mode


def _check_depth(model: PreTrainedModel, disruptions: Sequence[Disruption]) -> None:
    num_layers = len(family_of(model).layers_of(model))
    for disruption in disruptions:
        disruption.plan().check_depth(num_layers)


def _check_window(num_layers: int, width: int) -> None:
    if not 1 <= width <= num_layers:
        raise VisionFlowError(f"a window of {width} layers does not fit a model of {num_layers}: use 1 to {num_layers}")
