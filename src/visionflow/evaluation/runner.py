"""Every sample through every row: greedy answers, and what they cost, batch by batch."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from visionflow.cost import Convention, DecoderShape, cost_of_work
from visionflow.errors import VisionFlowError
from visionflow.evaluation.batches import batches_of, inputs_of, relevant_tokens
from visionflow.evaluation.marking import is_right
from visionflow.evaluation.records import Record, Records
from visionflow.evaluation.rows import Row
from visionflow.evaluation.samples import Form, Sample
from visionflow.loading.models import Loaded
from visionflow.methods import Method
from visionflow.pruning import prune
from visionflow.runtime.families import family_of
from visionflow.runtime.plan import Plan
from visionflow.runtime.scope import Scope
from visionflow.runtime.trace import Trace

LONGEST: dict[Form, int] = {"letter": 16, "yes_no": 16, "words": 16, "caption": 96}
"""New tokens, at most, by the form of the answer."""

CONVENTIONS: tuple[Convention, ...] = ("paper", "flops")


def evaluate(
    loaded: Loaded,
    samples: Sequence[Sample],
    rows: Sequence[Row],
    records: Records,
    batch: int = 16,
    on_batch: Callable[[str, int], None] = lambda task, done: None,
) -> list[Record]:
    """The records of all samples, in their order; those that `records` has already are not run again.

    Args:
        loaded: the model with its processor.
        samples: the questions.
        rows: the configurations.
        records: what is done; it grows with each batch.
        batch: samples of one task that are run at a time. Answers hang on it only where two tokens are all but equally
            likely: sums of another shape are rounded otherwise.
        on_batch: called after each batch with its task and the number of samples done so far.

    Raises:
        VisionFlowError: a row does not fit the model or lacks what it needs to know, a prompt is too long, there is not
            enough memory, or the records cannot be written.
    """
    check_rows(loaded.model, samples, rows)
    todo = [sample for sample in samples if sample.id not in records.by_id]
    for several in batches_of(todo, batch):
        records.append(run_batch(loaded, several, rows))
        on_batch(several[0].task, len(records.by_id))
    return [records.by_id[sample.id] for sample in samples]


def check_rows(model: PreTrainedModel, samples: Sequence[Sample], rows: Sequence[Row]) -> None:
    """Refuse, before any work, a row that the model is too shallow for, or an oracle that would know nothing."""
    num_layers = DecoderShape.from_config(model.config).num_layers
    unknown = [sample for sample in samples if sample.relevant is None]
    relevant = relevant_tokens(model, unknown[:1] or samples[:1])  # one sample shows whether all are known
    for row in rows:
        method = row.on(relevant)
        if method is not None:
            method.plan().check_depth(num_layers)


@torch.inference_mode()
def run_batch(loaded: Loaded, samples: Sequence[Sample], rows: Sequence[Row]) -> list[Record]:
    """The records of one batch of samples with the same form of answer, each row on the same inputs."""
    longest = LONGEST[samples[0].form]
    inputs = {sight: inputs_of(loaded, samples, sight, longest) for sight in {row.sight for row in rows}}
    shape = DecoderShape.from_config(loaded.model.config)
    relevant = relevant_tokens(loaded.model, samples)
    records = [_record(sample, None if relevant is None else relevant[n]) for n, sample in enumerate(samples)]
    for row in rows:
        method = row.on(relevant)
        answers, trace = _answers(loaded, inputs[row.sight], method, longest)
        kept = _kept(loaded.model, inputs[row.sight]["input_ids"], trace)
        for place, (sample, answer) in enumerate(zip(samples, answers, strict=True)):
            facts = {"answer": answer, "right": is_right(sample, answer), "kept": kept[place]}
            records[place]["rows"][row.name] = facts | _cost(shape, trace, place) | _decided(trace, place)
    return records


def _answers(loaded: Loaded, inputs: Any, method: Method | None, max_new_tokens: int) -> tuple[list[str], Trace]:
    """Greedy answers; the dense run is traced, too, by a scope that does nothing."""
    scope = Scope(loaded.model, Plan()) if method is None else prune(loaded.model, method)
    try:
        with scope as trace:
            tokens = loaded.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1)
    except torch.OutOfMemoryError as error:
        raise VisionFlowError(
            f"out of memory on {loaded.model.device}: lower --batch, or try --dtype bfloat16 or --device cpu"
        ) from error
    said = loaded.processor.tokenizer.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in said], trace


def _kept(model: PreTrainedModel, input_ids: Tensor, trace: Trace) -> list[list[int]]:
    """Per sample, the numbers of the image tokens that are there in the last layer, counted from 0."""
    image = (input_ids == family_of(model).image_token_id(model)).cpu()
    columns = [row.nonzero()[:, 0] for row in image]
    kept = trace.stages[-1].kept if trace.stages else columns
    return [torch.searchsorted(all_, left).tolist() for all_, left in zip(columns, kept, strict=True)]


def _record(sample: Sample, relevant: Tensor | None) -> Record:
    """What is known before any row has run; `relevant` is bool ``[patches]``."""
    return {
        "id": sample.id,
        "task": sample.task,
        "kind": sample.kind,
        "form": sample.form,
        "question": sample.question,
        "gold": list(sample.gold),
        "rows": {},
        "relevant": None if relevant is None else relevant.nonzero()[:, 0].tolist(),
    }


def _decided(trace: Trace, place: int) -> dict[str, Any]:
    """What a method that decides by sample has decided."""
    return {"decided": trace.decisions[-1].tell(place)} if trace.decisions else {}


def _cost(shape: DecoderShape, trace: Trace, place: int) -> dict[str, Any]:
    """What one sample of a traced batch costs by itself: padding, which depends on its company, is left out."""
    counts: list[int] = trace.image_tokens[:, place].tolist()
    facts: dict[str, Any] = {"image_tokens": counts}
    for convention in CONVENTIONS:
        facts[convention] = cost_of_work(shape, trace.work_of(place), [[count] for count in counts], convention).pruned
    return facts
