"""What is found out about a row before the clocked rounds: FLOPs, memory, probes, waits of the host."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from visionflow.answering.facts import kv_bytes
from visionflow.bench.clock import clock_for, host_waits
from visionflow.bench.memory import peak_memory
from visionflow.bench.passes import TimedProbes, answer, check_numbers, prefill
from visionflow.bench.rounds import TimeLimit
from visionflow.bench.rows import Variant
from visionflow.core.plan import Plan
from visionflow.cost import DecoderShape, cost_of
from visionflow.engines.hf.caches import cache_of
from visionflow.engines.hf.families import family_of
from visionflow.pruning import PruningTrace, prune

_PROBE_RUNS, _PROBES_S = 3, 20.0  # at most, and one at least
_WARM_UP = {"cuda": 3}  # answers; elsewhere the prefill whose memory is measured is enough


@dataclass(frozen=True)
class Unclocked:
    """One row, none of it with the clock of the rounds running; see `visionflow.bench.results.VariantResult`.

    Attributes:
        rows: tokens in each decoder layer, all samples, fillers among them.
        probe_s: of each run; empty without probes.
    """

    flops: int
    rows: list[int]
    kv_bytes: int
    peak_bytes: int | None
    probe_s: list[float]
    host_waits_prefill: int | None
    host_waits_answer: int | None


def run_unclocked(
    row: Variant, model: PreTrainedModel, inputs: dict[str, Any], image_tokens: int, steps: int
) -> Unclocked:
    """All that is told of a row without the clock of the rounds; it is their warm-up, too.

    Args:
        inputs: of `visionflow.bench.prompt.BenchPrompt.decoder_inputs`.
        image_tokens: of each sample.
        steps: decoding steps of an answer.
    """
    with running_as(row, model) as trace:
        for _ in range(_WARM_UP.get(model.device.type, 0)):
            answer(model, inputs, steps, _unmarked)
        peak, output = peak_memory(model.device, lambda: prefill(model, inputs))
        check_numbers(output)
        ids = inputs["input_ids"]
        flops = trace.cost("flops").pruned if trace else dense_flops(model, ids, image_tokens)
        lengths = trace.lengths if trace else [ids.shape[1]] * len(family_of(model).layers_of(model))
        cached = kv_bytes(cache_of(output))
        del output
        in_prefill = host_waits(model.device, lambda: prefill(model, inputs))
        in_answer = host_waits(model.device, lambda: answer(model, inputs, steps, _unmarked))
    rows = [len(ids) * length for length in lengths]
    return Unclocked(flops, rows, cached, peak, _probe_times(row, model, inputs), in_prefill, in_answer)


def dense_flops(model: PreTrainedModel, ids: Tensor, image_tokens: int) -> int:
    """True FLOPs of the unpruned prefill of the batch `ids`."""
    batch, tokens = ids.shape
    shape = DecoderShape.from_config(model.config)
    return batch * cost_of(Plan(), shape, "flops", image_tokens=image_tokens, text_tokens=tokens - image_tokens).dense


@contextmanager
def running_as(row: Variant, model: PreTrainedModel) -> Iterator[PruningTrace | None]:
    """The model as the row has it, and its trace if it is pruned."""
    if row.method is None:
        yield None
    else:
        with prune(model, row.method) as trace:
            yield trace


def _probe_times(row: Variant, model: PreTrainedModel, inputs: dict[str, Any]) -> list[float]:
    plan = row.method.plan() if row.method else Plan()
    if row.method is None or not (plan.adaptive or any(cut.probed is not None for cut in plan.cuts)):
        return []
    clock, limit = clock_for(model.device), TimeLimit(_PROBES_S)
    times: list[float] = []
    while len(times) < _PROBE_RUNS and (not times or limit.lap() < limit.left):
        with prune(model, TimedProbes(row.method, clock)):
            prefill(model, inputs)
        times.append(sum(clock.laps()[::2]))  # from the begin of a probe to its end, not from there to the next
    return times


def _unmarked() -> None:
    """The mark of a run that is not clocked."""
