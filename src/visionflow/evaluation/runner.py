"""Every sample through every row: greedy answers, and what they cost, batch by batch."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from visionflow.answering import Facts, answers, greedy
from visionflow.cost import Convention
from visionflow.engines.hf.encoded_once import encoded_once
from visionflow.engines.hf.layer_kinds import depth_of
from visionflow.evaluation.batches import batches_of, inputs_of, relevant_tokens
from visionflow.evaluation.records import Record, Records
from visionflow.evaluation.rows import Configuration
from visionflow.evaluation.samples import AnswerForm, Sample
from visionflow.loading.models import Loaded

LONGEST: dict[AnswerForm, int] = {"letter": 16, "yes_no": 16, "words": 16, "caption": 96}
"""New tokens, at most, by the form of the answer."""

CONVENTIONS: tuple[Convention, ...] = ("paper", "flops")

_WAY_OUT = "lower --batch, or try --dtype bfloat16 or --device cpu"


def evaluate(
    loaded: Loaded,
    samples: Sequence[Sample],
    rows: Sequence[Configuration],
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
    todo = [sample for sample in samples if sample.id not in records.known]
    for several in batches_of(todo, batch):
        records.add(run_batch(loaded, several, rows))
        on_batch(several[0].task, len(records.known))
    return [marked(records.known[sample.id], sample) for sample in samples]


def check_rows(model: PreTrainedModel, samples: Sequence[Sample], rows: Sequence[Configuration]) -> None:
    """Refuse, before any work, a row that the model is too shallow for, or an oracle that would know nothing."""
    num_layers = depth_of(model.config)
    unknown = [sample for sample in samples if sample.relevant is None]
    relevant = relevant_tokens(model, unknown[:1] or samples[:1])  # one sample shows whether all are known
    for row in rows:
        method = row.on(relevant)
        if method is not None:
            method.plan().check_depth(num_layers)


def run_batch(loaded: Loaded, samples: Sequence[Sample], rows: Sequence[Configuration]) -> list[Record]:
    """The records of one batch of samples with the same form of answer, each row on the same inputs."""
    longest = LONGEST[samples[0].form]
    looks = {(row.sight, row.scale) for row in rows}
    inputs = {look: inputs_of(loaded, samples, look[0], longest, look[1]) for look in looks}
    relevant = relevant_tokens(loaded.model, samples)
    records = [_record(sample, None if relevant is None else relevant[n]) for n, sample in enumerate(samples)]
    with encoded_once(loaded.model):
        for row in rows:
            seen, method = inputs[row.sight, row.scale], row.on(relevant)
            said = answers(loaded.model, loaded.processor, seen, method, _WAY_OUT, **greedy(longest))
            for record, sample, text, facts in zip(records, samples, said.texts, said.facts, strict=True):
                answer = text.strip()
                record["rows"][row.name] = {"answer": answer, "right": sample.is_right(answer)} | _told(facts)
    return records


def marked(record: Record, sample: Sample) -> Record:
    """The record with `right` as the sample has it of every answer, and of a caption with the objects to name.

    Records that older versions wrote took a caption for right that named every object and more.
    """
    if sample.form != "caption":
        return record
    rows = {name: row | {"right": sample.is_right(row["answer"])} for name, row in record["rows"].items()}
    return record | {"objects": list(sample.objects), "rows": rows}


def _record(sample: Sample, relevant: Tensor | None) -> Record:
    """What is known before any row has run; `relevant` is bool ``[patches]``."""
    objects = {"objects": list(sample.objects)} if sample.form == "caption" else {}
    return objects | {
        "id": sample.id,
        "task": sample.task,
        "kind": sample.kind,
        "form": sample.form,
        "question": sample.question,
        "gold": list(sample.gold),
        "rows": {},
        "relevant": None if relevant is None else relevant.nonzero()[:, 0].tolist(),
    }


def _told(facts: Facts) -> dict[str, Any]:
    """What a record says of one sample in one row; a cost that is not modelled is None."""
    costs = {convention: facts.costs[convention] for convention in CONVENTIONS}
    told: dict[str, Any] = {"kept": facts.kept, "image_tokens": facts.image_tokens}
    told |= {convention: None if cost is None else cost.pruned for convention, cost in costs.items()}
    return told if facts.decided is None else told | {"decided": facts.decided}
