"""One pass over a prompt: the prefill and a greedy answer, and what is measured of it outside the clocked runs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from visionflow.bench.clock import Clock
from visionflow.core.adaptive import AdaptiveCuts, Decider, Decision
from visionflow.core.attention import AttentionRows
from visionflow.core.evidence import Attention
from visionflow.core.layer import LayerAttention
from visionflow.core.plan import Cut, Plan
from visionflow.core.tokens import Tokens
from visionflow.engines.hf.caches import cache_name_of, cache_of
from visionflow.errors import VisionFlowError
from visionflow.methods.base import Method


@torch.inference_mode()
def answer(model: PreTrainedModel, inputs: dict[str, Any], steps: int, mark: Callable[[], None]) -> Any:
    """Prefill on encoded pictures and `steps` greedy decoding steps, a mark before, between and after.

    The loop of `generate` without its bookkeeping, and without a read from the device: what a step costs is the model.

    Args:
        inputs: of `visionflow.bench.prompt.BenchPrompt.decoder_inputs`.

    Returns:
        The output of the last call, logits of the last token ``[batch, 1, vocabulary]``.
    """
    cache = cache_name_of(model)
    mark()
    output = model(**inputs, use_cache=True, logits_to_keep=1)
    token = output.logits.argmax(-1)
    mark()
    for _ in range(steps):
        output = model(input_ids=token, use_cache=True, **{cache: cache_of(output)})
        token = output.logits.argmax(-1)
    mark()
    return output


@torch.inference_mode()
def prefill(model: PreTrainedModel, inputs: dict[str, Any]) -> Any:
    """The prefill alone."""
    return model(**inputs, use_cache=True, logits_to_keep=1)


def check_numbers(output: Any) -> None:
    """Refuse to time a model that computes with NaN or infinity, which some hardware does at another speed."""
    if not bool(output.logits.isfinite().all()):
        raise VisionFlowError("the model's logits are not finite: give another --dtype")


@dataclass(frozen=True)
class TimedProbes(Method):
    """A method whose probes are timed, at the price of waiting for the device before and after each.

    Attributes:
        method: what it is.
        clock: gets two marks for each probe.
    """

    method: Method
    clock: Clock

    def cuts(self) -> tuple[Cut, ...]:
        """As of the method."""
        return self.plan().cuts

    def plan(self) -> Plan:
        """The method's plan, its probes between marks."""
        plan = self.method.plan()
        adaptive = plan.adaptive and _TimedCuts(plan.adaptive, self.clock)
        return replace(plan, cuts=tuple(map(self._cut, plan.cuts)), adaptive=adaptive)

    def _cut(self, cut: Cut) -> Cut:
        if not isinstance(cut.evidence, Attention):
            return cut
        reduce = cut.evidence.reduce

        def timed(rows: AttentionRows) -> Tensor:
            self.clock.mark()
            scores = reduce(rows)
            self.clock.mark()
            return scores

        return replace(cut, evidence=replace(cut.evidence, reduce=timed))


@dataclass(frozen=True)
class _TimedCuts(AdaptiveCuts):
    """Adaptive cuts that are decided between marks."""

    cuts: AdaptiveCuts
    clock: Clock

    @property
    def named_layers(self) -> dict[str, int]:
        return self.cuts.named_layers

    @property
    def depth(self) -> int | None:
        return self.cuts.depth

    def start(self, tokens: Tokens) -> Decider:
        return cast(Decider, _TimedDecider(self.cuts.start(tokens), self.clock))


class _TimedDecider:
    """A decider that decides between marks, and is else what it was."""

    def __init__(self, decider: Decider, clock: Clock) -> None:
        self._decider = decider
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decider, name)

    def decide(self, attention: LayerAttention) -> Decision:
        self._clock.mark()
        decision = self._decider.decide(attention)
        self._clock.mark()
        return decision
