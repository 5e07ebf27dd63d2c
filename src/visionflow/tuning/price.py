"""What a schedule costs, as a share of dense: FLOPs, multiply-adds or KV bytes from counts alone, or measured time."""

from collections import Counter
from collections.abc import Callable, Sequence
from statistics import median
from typing import Literal, Protocol

import torch
from transformers import PreTrainedModel

from visionflow.answering.answers import scope_of
from visionflow.answering.timing import seconds
from visionflow.cost import Convention, DecoderShape, cost_of
from visionflow.engines.hf.families import family_of
from visionflow.errors import UnsupportedModelError, VisionFlowError
from visionflow.methods.base import Method
from visionflow.methods.schedule import Schedule, Step
from visionflow.tuning.answered import Prompts, tokens_of

CostName = Literal["flops", "paper", "gated", "kv", "time"]

COUNTS: dict[CostName, str] = {
    "flops": "FLOPs of the prefill, all prompt tokens and probes, without the vision tower and the answer",
    "paper": "multiply-adds of the image tokens in the prefill (HiMAP eq. 10), without text, probes and vision tower",
    "gated": "the same with all three matrices of a gated network",
    "kv": "bytes of the prompt's KV cache",
    "time": "measured time of the prefill, vision tower included",
}
"""What is counted, for people."""

ROUNDS = 3


class Price(Protocol):
    """What a method costs on the prompts that it is tuned on, as a share of dense."""

    name: CostName

    def share(self, method: Method) -> float:
        """Of a method: what is held against the budget."""

    def guess(self, step: Step) -> float:
        """Of a single cut: what schedules are put together by before they are priced."""


class CountedPrice:
    """FLOPs, multiply-adds or KV bytes of all prompts, by the cost model."""

    def __init__(self, model: PreTrainedModel, batches: Sequence[Prompts], name: Convention | Literal["kv"]) -> None:
        """
        Raises:
            UnsupportedModelError: the cost of this kind of decoder is not modelled.
        """
        self.name: CostName = name
        self._convention: Convention = "flops" if name == "kv" else name
        self._shape = DecoderShape.from_config(model.config)
        self._counts: Counter[tuple[int, int, int]] = Counter()
        for batch in batches:
            tokens = tokens_of(model, batch)
            groups = (tokens.system, tokens.image, tokens.instruction)
            self._counts.update(zip(*(group.counts for group in groups), strict=True))
        self._known: dict[Method, float] = {}

    def share(self, method: Method) -> float:
        """Of all prompts together."""
        if method not in self._known:
            self._known[method] = self._share(method)
        return self._known[method]

    def guess(self, step: Step) -> float:
        """That of a schedule of it alone."""
        return self.share(Schedule((str(step),)))

    def _share(self, method: Method) -> float:
        kv = self.name == "kv"
        pruned = dense = 0
        for (system, image, instruction), prompts in self._counts.items():
            cost = cost_of(
                method,
                self._shape,
                self._convention,
                image_tokens=image,
                text_tokens=system + instruction,
                instruction_tokens=instruction,
            )
            pruned += prompts * (cost.kv_bytes_pruned if kv else cost.pruned)
            dense += prompts * (cost.kv_bytes_dense if kv else cost.dense)
        return pruned / dense


class MeasuredPrice:
    """Time of the prefill, dense and pruned in turn, so that a busy machine slows both alike."""

    name: CostName = "time"

    def __init__(
        self,
        model: PreTrainedModel,
        batches: Sequence[Prompts],
        clock: Callable[[torch.device, Callable[[], object]], float] = seconds,
    ) -> None:
        self._model, self._batches, self._clock = model, batches, clock
        self._depth = len(family_of(model).layers_of(model))
        self._known: dict[Method, float] = {}
        self._first_cut: dict[float, float] = {}

    def share(self, method: Method) -> float:
        """The median of a few rounds over all prompts."""
        if method not in self._known:
            rounds = [(self._time(None), self._time(method)) for _ in range(ROUNDS)]
            self._known[method] = median(pruned for _, pruned in rounds) / median(dense for dense, _ in rounds)
        return self._known[method]

    def guess(self, step: Step) -> float:
        """By a straight line from a cut before layer 1, measured, to one after the last, which saves nothing."""
        if step.keep not in self._first_cut:
            self._first_cut[step.keep] = self.share(Schedule((str(Step(1, "none", step.keep)),)))
        run_whole = (step.layer - 1) / (self._depth - 1)
        return 1 - (1 - run_whole) * (1 - self._first_cut[step.keep])

    @torch.inference_mode()
    def _time(self, method: Method | None) -> float:
        """Seconds for the prompts of all batches up to their first token."""

        def prefill() -> None:
            for batch in self._batches:
                self._model(**batch, use_cache=True, logits_to_keep=1)

        with scope_of(self._model, method):
            return self._clock(self._model.device, prefill)


def price_of(model: PreTrainedModel, batches: Sequence[Prompts], cost: CostName | None = None) -> tuple[Price, str]:
    """The price by name, and a note for people; for None FLOPs, or time where these are not modelled.

    Raises:
        VisionFlowError: there is no such cost, or it is not modelled for this decoder.
    """
    if cost not in (None, *COUNTS):
        raise VisionFlowError(f"unknown cost {cost!r}: choose one of {', '.join(COUNTS)}")
    if cost == "time":
        return MeasuredPrice(model, batches), ""
    try:
        return CountedPrice(model, batches, cost or "flops"), ""
    except UnsupportedModelError as error:
        if cost is None:
            return MeasuredPrice(model, batches), f"{error}: the budget is a share of measured time"
        raise VisionFlowError(f"{error}: choose cost 'time', which is measured") from error
