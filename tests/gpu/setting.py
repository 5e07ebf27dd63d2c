"""What the checks run on: models of real shapes on a GPU, or tiny ones on the CPU, where only the code is tried out."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from transformers import PreTrainedModel

from tests.tiny import tiny_llava
from visionflow import Method
from visionflow.bench.clock import clock_for
from visionflow.bench.passes import prefill
from visionflow.bench.prompt import make_prompt
from visionflow.bench.rows import Variant
from visionflow.bench.shapes import random_model, shape_config
from visionflow.bench.unclocked import dense_flops, running_as

WARM_UP, ROUNDS = 2, 5


@dataclass(frozen=True)
class Finding:
    """One figure beside what was expected of it.

    Attributes:
        figure: what it is.
        value: what was found.
        expected: in words.
        holds: whether it is as expected; None where this machine cannot tell.
    """

    figure: str
    value: Any
    expected: str
    holds: bool | None


@dataclass
class Setting:
    """A device, and the model that is on it: one at a time.

    Attributes:
        tiny: models of a few thousand weights, short prompts, one round: the figures mean nothing.
    """

    device: torch.device
    tiny: bool
    _held: dict[str, PreTrainedModel] = field(default_factory=dict)

    @property
    def judges(self) -> bool:
        """Whether figures of speed mean anything here."""
        return self.device.type == "cuda" and not self.tiny

    def judged(self, holds: bool) -> bool | None:
        """A verdict on a figure of speed or memory."""
        return holds if self.judges else None

    def model(self, shape: str) -> PreTrainedModel:
        """The model of a shape in bf16; the one before it is let go."""
        if shape not in self._held:
            self._held.clear()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            config = None if self.tiny else shape_config(shape)
            self._held[shape] = (
                tiny_llava(2).to(self.device) if config is None else random_model(config, torch.bfloat16, self.device)
            )
        return self._held[shape]

    def inputs(self, model: PreTrainedModel, batch: int, image_tokens: int) -> dict[str, Any]:
        """A prompt of so many image tokens and 64 text tokens, its pictures encoded already."""
        if self.tiny:
            image_tokens = {576: 16, 2880: 24, 16384: 40}[image_tokens]
        made = make_prompt(model, batch, image_tokens, 6 if self.tiny else 64)
        return made.decoder_inputs(made.noise(model))

    def seconds(self, works: dict[str, Callable[[], Any]]) -> dict[str, float]:
        """The median of each work, in turns."""
        rounds = 1 if self.tiny else ROUNDS
        taken: dict[str, list[float]] = {name: [] for name in works}
        for number in range(rounds if self.tiny else WARM_UP + rounds):
            for name, work in works.items():
                clock = clock_for(self.device)
                clock.mark()
                work()
                clock.mark()
                if self.tiny or number >= WARM_UP:
                    taken[name] += clock.laps()
        return {name: median(laps) for name, laps in taken.items()}

    def prefills(
        self, model: PreTrainedModel, inputs: dict[str, Any], methods: list[Method]
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Seconds of a prefill, dense and under each method, and by method the bound: FLOPs of dense over its own."""
        rows = {"dense": Variant("dense", None)} | {each.name: Variant(each.name, each) for each in methods}
        bounds = {}
        for name, row in rows.items():
            with running_as(row, model) as trace:
                prefill(model, inputs)
                if trace is not None:
                    image = int(trace.given_image_tokens[0])
                    bounds[name] = dense_flops(model, inputs["input_ids"], image) / trace.cost("flops").pruned

        def run(row: Variant) -> None:
            with running_as(row, model):
                prefill(model, inputs)

        return self.seconds({name: lambda row=row: run(row) for name, row in rows.items()}), bounds

    def kernels(self, work: Callable[[], Any]) -> tuple[float, list[str]]:
        """Seconds that kernels run in `work`, and their names; on a CPU those of its operations."""
        os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # the profiler would announce itself on standard error
        cuda = self.device.type == "cuda"
        with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as profiled:
            work()
        averages = profiled.key_averages()
        taken = sum(each.self_device_time_total if cuda else each.self_cpu_time_total for each in averages)
        return taken / 1e6, [each.key for each in averages]
