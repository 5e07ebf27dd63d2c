"""One prompt answered once, dense or pruned, and all that was seen on the way, as plain data."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from visionflow.answering import enough_memory, greedy, scope_of
from visionflow.answering.facts import kv_bytes_by_layer
from visionflow.answering.timing import seconds
from visionflow.core.plan import Cut, Plan
from visionflow.cost import conventions
from visionflow.engines.hf.caches import cache_of
from visionflow.errors import UnsupportedModelError
from visionflow.flow.answer_reading import AnswerReading
from visionflow.flow.choices import Choice, noted, ranks
from visionflow.flow.lengths import tokens_of
from visionflow.flow.lens import LogitLens
from visionflow.methods.base import Method
from visionflow.pruning import PruningTrace, prune

ROUNDS = 3  # of the time to the first token
WAY_OUT = "try a smaller model, --dtype bfloat16, or --device cpu"


@dataclass(frozen=True)
class _Seen(Method):
    """A method whose plan is carried out under the eyes of an `AnswerReading`; None for the dense model."""

    name: ClassVar[str] = "seen"
    method: Method | None
    reading: AnswerReading
    note: Callable[[Choice], None]

    def cuts(self) -> tuple[Cut, ...]:
        return ()

    def plan(self) -> Plan:
        plan = Plan() if self.method is None else self.method.plan()
        return self.reading.watching(noted(plan, self.note))


@torch.no_grad()
def run_of(
    model: PreTrainedModel,
    inputs: Any,
    image_columns: Tensor,
    method: Method | None,
    words: Callable[[int], str],
    max_new_tokens: int,
    top: int,
) -> dict[str, Any]:
    """Answer the prompt greedily with `method`, or dense for None, and tell all that was seen.

    Args:
        model: a supported model.
        inputs: a batch of one.
        image_columns: int64, columns of its image tokens.
        method: what is pruned.
        words: the text of a token id.
        max_new_tokens: length of the answer, at most.
        top: likeliest tokens told for each depth.

    Returns:
        One entry of ``runs``, see `visionflow.report.look.report`.

    Raises:
        VisionFlowError: there is not enough memory, the method does not fit the model, or as `Watch` does.
    """
    generation = {**greedy(max_new_tokens), "return_dict_in_generate": True}
    choices: list[Choice] = []
    reading = AnswerReading(model, tokens_of(model, inputs))

    out: Any = None

    def answer() -> None:
        nonlocal out
        out = model.generate(**inputs, **generation)

    with enough_memory(model.device, WAY_OUT):
        with prune(model, _Seen(method, reading, choices.append)) as trace, reading.during():
            look_s = seconds(model.device, answer)
        rows = reading.rows(cache_of(out))
        new = out.sequences[0, inputs["input_ids"].shape[1] :].tolist()
        lens, no_lens = _lens(reading, top)
        first_token_s, answer_s, kv_bytes = _plain(model, inputs, method, max_new_tokens)
    return {
        "method": None if method is None else str(method),
        "spec": None if method is None else method.spec,
        "tokens": [{"id": token, "text": words(token)} for token in new],
        "stages": _stages(trace, choices, image_columns),
        **_work(trace, kv_bytes),
        "reads": rows.numpy(),
        "lens": lens and _told(lens, words),
        "no_lens": no_lens,
        "decided": trace.decisions[-1].tell(0) if trace.decisions else None,
        "times": {"first_token_s": first_token_s, "answer_s": answer_s, "look_s": look_s},
        "memory": {"rows_bytes": rows.nbytes, "states_bytes": reading.states_bytes},
    }


def _lens(reading: AnswerReading, top: int) -> tuple[LogitLens | None, str]:
    try:
        return reading.lens(top), ""
    except UnsupportedModelError as error:
        return None, str(error)


def _told(lens: LogitLens, words: Callable[[int], str]) -> dict[str, Any]:
    ids = lens.ids.tolist()
    texts = [[[words(token) for token in at_depth] for at_depth in of_row] for of_row in ids]
    return {"ids": ids, "words": texts, "probabilities": lens.probabilities.tolist()}


def _plain(
    model: PreTrainedModel, inputs: Any, method: Method | None, max_new_tokens: int
) -> tuple[float, float, list[int]]:
    """Seconds to the first token (median of a few) and of the answer with nobody looking; KV bytes of each layer."""
    cache: Any = None

    def first_token() -> None:
        nonlocal cache
        cache = cache_of(model.generate(**inputs, **greedy(1), return_dict_in_generate=True))

    with scope_of(model, method):
        first_token_s = median(seconds(model.device, first_token) for _ in range(ROUNDS))
        answer_s = seconds(model.device, lambda: model.generate(**inputs, **greedy(max_new_tokens)))
    return first_token_s, answer_s, kv_bytes_by_layer(cache)


def _stages(trace: PruningTrace, choices: list[Choice], image_columns: Tensor) -> list[dict[str, Any]]:
    """What each cut kept, and on which scores, by the numbers of the image tokens."""
    number = {column: place for place, column in enumerate(image_columns.tolist())}
    noted_at = {choice.layer: choice for choice in choices}
    stages = []
    for stage in trace.stages:
        choice = noted_at.get(stage.layer)
        scores = choice.scores if choice else None
        stages.append(
            {
                "layer": stage.layer,
                "kept": [number[column] for column in stage.kept[0].tolist()],
                "present": [number[column] for column in choice.columns.tolist()] if choice else None,
                "scores": None if scores is None else scores.tolist(),
                "ranks": None if scores is None else ranks(scores).tolist(),
                "merged": None if stage.merged is None else stage.merged[0].tolist(),
            }
        )
    return stages


def _work(trace: PruningTrace, kv_bytes: list[int]) -> dict[str, Any]:
    """Tokens, FLOPs and KV bytes of each layer in the prefill; FLOPs are None where the cost is not modelled."""
    work, shape = trace.work_of(0), trace.shape
    found: dict[str, Any] = {
        "image_tokens": trace.image_tokens[:, 0].tolist(),
        "lengths": list(work.lengths),
        "kv_bytes": kv_bytes,
        "flops": None,
        "flops_total": None,
        "uncosted": trace.uncosted,
    }
    if shape is not None:
        found["flops"] = [conventions.flops(shape, n, pairs) for n, pairs in zip(work.lengths, work.pairs, strict=True)]
        found["flops_total"] = trace.cost_of(0, "flops").pruned  # with probes and the head
    return found
