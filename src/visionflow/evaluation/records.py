"""The records of a run: one line per sample in ``records.jsonl``, beside ``run.json`` that says which run it is.

Lines are appended batch by batch, so that an interrupted run loses one batch at most. Nothing that is there is ever
overwritten: what does not belong to the run is refused.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from visionflow.errors import VisionFlowError
from visionflow.evaluation.samples import Sample

Record = dict[str, Any]
"""One sample: id, task, kind, form, question, gold, the numbers of the image tokens that are ``relevant`` (None where
nobody knows), of captions the ``objects`` to name, and in ``rows`` each row's answer, whether it is right, the image
tokens kept to the end, the cost."""

RUN, RECORDS = "run.json", "records.jsonl"


class Records:
    """What is known so far, in memory and, where there is a folder, on disk.

    Attributes:
        by_id: the record of each sample that is done.
    """

    def __init__(self, folder: Path | None = None, by_id: dict[str, Record] | None = None) -> None:
        self.folder = folder
        self.by_id = by_id or {}

    @classmethod
    def open(cls, folder: Path, run: dict[str, Any], samples: Sequence[Sample]) -> "Records":
        """The records in `folder`, begun anew or gone on with; a half-written last line is dropped.

        Args:
            folder: made where it is missing.
            run: what decides the answers; a run with another one is another run.
            samples: the run's questions.

        Raises:
            VisionFlowError: the folder cannot be written, belongs to another run, or is damaged.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            described, recorded = (folder / RUN).exists(), (folder / RECORDS).exists()
            if not described:
                _begin(folder, run)
            elif not recorded:
                raise VisionFlowError(f"{folder / RECORDS} is missing: put it back, or choose another --out")
            else:
                _check_run(folder, run)
            return cls(folder, _read(folder / RECORDS, {each.id: each for each in samples}, set(run["rows"])))
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
        if self.folder is None:
            return
        try:
            with (self.folder / RECORDS).open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(record) + "\n" for record in records)
        except OSError as error:
            raise VisionFlowError(
                f"cannot write {self.folder / RECORDS} ({error.strerror or error}): make room and run again"
            ) from error


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


def _read(path: Path, samples: Mapping[str, Sample], rows: set[str]) -> dict[str, Record]:
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    found: dict[str, Record] = {}
    for number, line in enumerate(whole.split(b"\n")[:-1], start=1):
        record = _parsed(line)
        if record is None or record["id"] in found or set(record["rows"]) != rows:
            raise VisionFlowError(
                f"{path} is damaged in line {number}: put it back, delete that line, or choose another --out"
            )
        sample = samples.get(record["id"])
        if sample is None or (sample.question, list(sample.gold)) != (record.get("question"), record.get("gold")):
            raise VisionFlowError(
                f"line {number} of {path} is of a question that this suite does not ask: choose another --out"
            )
        found[record["id"]] = record
    if len(whole) < len(content):  # an interrupted write; only now that the rest is known to be sound
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return found


def _parsed(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    sound = isinstance(record, dict) and isinstance(record.get("id"), str) and isinstance(record.get("rows"), dict)
    return record if sound else None


def _flat(run: dict[str, Any]) -> dict[str, str]:
    """Each setting by its name, each row by its own, for people to read."""
    settings = {
        name: ", ".join(map(str, value)) if isinstance(value, list) else str(value) for name, value in run.items()
    }
    rows = run.get("rows")
    by_row = {f"row {row}": str(says) for row, says in rows.items()} if isinstance(rows, dict) else {}
    return {name: said for name, said in settings.items() if name != "rows"} | by_row
