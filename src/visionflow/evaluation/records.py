"""The records of a run: one line per sample, added batch by batch: an interrupted run loses one batch at most."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from visionflow.errors import VisionFlowError
from visionflow.evaluation.samples import Sample
from visionflow.store import ANOTHER, Store

Record = dict[str, Any]
"""One sample: id, task, kind, form, question, gold, the numbers of the image tokens that are ``relevant`` (None where
nobody knows), of captions the ``objects`` to name, and in ``rows`` each row's answer, whether it is right, the image
tokens kept to the end, the cost."""

RECORDS = "records.jsonl"

FLOW = "flow"
"""What records call the analysis of `visionflow.evaluation.flow_runs`, None for a sample that it was not made of."""

_SAID: dict[str, type] = {"id": str, "task": str, "kind": str, "form": str, "question": str, "gold": list, "rows": dict}
_ANSWERED: dict[str, type] = {"answer": str, "right": bool, "kept": list}


class Records(Store):
    """The record of each sample that is done, by its id."""

    def __init__(
        self, folder: Path | None = None, run: Mapping[str, Any] | None = None, samples: Sequence[Sample] = ()
    ) -> None:
        """As `Store`; a record of a question that is none of the `samples` is refused, too."""
        rows = set((run or {}).get("rows", ()))
        super().__init__(itemgetter("id"), lambda record: _is_record(record, rows), folder, run or {}, RECORDS)
        asked = {sample.id: (sample.question, list(sample.gold)) for sample in samples}
        for number, record in enumerate(self.known.values(), start=1):
            if asked.get(record["id"]) != (record["question"], record["gold"]):
                raise VisionFlowError(
                    f"line {number} of {RECORDS} in {folder} is of a question that this suite does not ask: {ANOTHER}"
                )


def _is_record(record: Record, rows: set[str]) -> bool:
    if not _holds(record, _SAID) or set(record["rows"]) != rows:
        return False
    return all(_is_row(name, facts) for name, facts in record["rows"].items())


def _is_row(name: str, facts: object) -> bool:
    if name == FLOW:
        return facts is None or isinstance(facts, dict)
    return isinstance(facts, dict) and _holds(facts, _ANSWERED)


def _holds(facts: Mapping[str, object], kinds: Mapping[str, type]) -> bool:
    return all(isinstance(facts.get(name), kind) for name, kind in kinds.items())
