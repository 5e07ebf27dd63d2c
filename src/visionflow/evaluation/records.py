"""The records of a run: one line per sample in ``records.jsonl``, beside ``run.json`` that says which run it is.

Lines are appended batch by batch, so that an interrupted run loses one batch at most. Nothing that is there is ever
overwritten: what does not belong to the run is refused, and so is a second run as long as the first one writes.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from visionflow.errors import VisionFlowError
from visionflow.evaluation.samples import Sample
from visionflow.journal import Journal

Record = dict[str, Any]
"""One sample: id, task, kind, form, question, gold, the numbers of the image tokens that are ``relevant`` (None where
nobody knows), of captions the ``objects`` to name, and in ``rows`` each row's answer, whether it is right, the image
tokens kept to the end, the cost."""

RUN, RECORDS = "run.json", "records.jsonl"

FLOW = "flow"
"""What records call the analysis of `visionflow.evaluation.flow_runs`, None for a sample that it was not made of."""

_SAID: dict[str, type] = {"task": str, "kind": str, "form": str, "question": str, "gold": list, "rows": dict}
_ANSWERED: dict[str, type] = {"answer": str, "right": bool, "kept": list}


class Records:
    """What is known so far, in memory and, where there is a folder, on disk.

    Attributes:
        by_id: the record of each sample that is done.
        folder: where they are kept, by this process alone as long as there are these records; None for nowhere.
    """

    def __init__(self, journal: Journal | None = None, by_id: dict[str, Record] | None = None) -> None:
        self.by_id = by_id or {}
        self.folder = journal.path.parent if journal else None
        self._journal = journal

    @classmethod
    def open(cls, folder: Path, run: dict[str, Any], samples: Sequence[Sample]) -> "Records":
        """The records in `folder`, begun anew or gone on with; a half-written last line is dropped.

        Args:
            folder: made where it is missing.
            run: what decides the answers; a run with another one is another run.
            samples: the run's questions.

        Raises:
            VisionFlowError: the folder cannot be written, is being written by another process, belongs to another run,
                or is damaged.
        """
        try:
            journal = Journal(folder / RECORDS)
            described, recorded = (folder / RUN).exists(), (folder / RECORDS).exists()
            if not described:
                _begin(folder, run)
            elif not recorded:
                raise VisionFlowError(f"{folder / RECORDS} is missing: put it back, or choose another --out")
            else:
                _check_run(folder, run)
            return cls(journal, _read(journal, {each.id: each for each in samples}, set(run["rows"])))
        except OSError as error:
            raise VisionFlowError(
                f"cannot keep records in {folder} ({error.strerror or error}): choose another --out"
            ) from error

    def append(self, records: Sequence[Record]) -> None:
        """Add the records of a batch.

        Raises:
            VisionFlowError: they cannot be written.
        """
        self.by_id |= {record["id"]: record for record in records}
        if self._journal is not None:
            self._journal.append(records)


def _begin(folder: Path, run: dict[str, Any]) -> None:
    """The records first: a folder with run.json and without them has lost something."""
    records = folder / RECORDS
    if records.exists() and records.stat().st_size:
        raise VisionFlowError(f"{records} is there without {RUN}: put that back, or choose another --out")
    records.touch()
    half = folder / f"{RUN}.part"
    half.write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")
    half.replace(folder / RUN)


def _check_run(folder: Path, run: dict[str, Any]) -> None:
    try:
        there = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except ValueError as error:
        raise VisionFlowError(f"{folder / RUN} is damaged: put it back, or choose another --out") from error
    there, asked = _flat(there if isinstance(there, dict) else {}), _flat(run)
    for name in asked | there:
        was, now = there.get(name, "absent"), asked.get(name, "absent")
        if was != now:
            raise VisionFlowError(f"{folder} holds a run whose {name} is {was}, not {now}: choose another --out")


def _read(journal: Journal, samples: Mapping[str, Sample], rows: set[str]) -> dict[str, Record]:
    found: dict[str, Record] = {}

    def is_sound(record: Record) -> bool:
        name = record.get("id")
        if not isinstance(name, str) or name in found or not _is_record(record, rows):
            return False
        found[name] = record
        return True

    journal.read(is_sound)
    for number, (name, record) in enumerate(found.items(), start=1):
        sample = samples.get(name)
        if sample is None or (sample.question, list(sample.gold)) != (record["question"], record["gold"]):
            raise VisionFlowError(
                f"line {number} of {journal.path} is of a question that this suite does not ask: choose another --out"
            )
    return found


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


def _flat(run: dict[str, Any]) -> dict[str, str]:
    """Each setting by its name, each row by its own, for people to read."""
    settings = {
        name: ", ".join(map(str, value)) if isinstance(value, list) else str(value) for name, value in run.items()
    }
    rows = run.get("rows")
    by_row = {f"row {row}": str(says) for row, says in rows.items()} if isinstance(rows, dict) else {}
    return {name: said for name, said in settings.items() if name != "rows"} | by_row
