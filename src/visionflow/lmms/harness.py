"""Runs of lmms-eval's own command line, and what they leave behind.

lmms-eval exits with code 0 when a run has failed: a run counts as done when its log is there and whole.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from visionflow.errors import VisionFlowError

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Cell:
    """One task in one run.

    Attributes:
        task: as lmms-eval calls it.
        scores: lmms-eval's own, by metric.
        samples: its log, one entry per question.
    """

    task: str
    scores: dict[str, Any]
    samples: list[dict[str, Any]]


def check_installed() -> None:
    """Refuse to go on without lmms-eval.

    Raises:
        VisionFlowError: says how to get it.
    """
    if find_spec("lmms_eval") is None:
        raise VisionFlowError("this needs lmms-eval 0.7.3: pip install 'visionflow[lmms]'; see docs/benchmarks.md")


def model_arguments(arguments: Mapping[str, object]) -> str:
    """``--model_args``.

    Raises:
        VisionFlowError: a value has a comma or an equals sign in it, which lmms-eval would take for its own.
    """
    for name, value in arguments.items():
        if re.search("[,=\"'{}]", str(value)):
            raise VisionFlowError(f"{name} is {value!r}: lmms-eval takes no value with a comma, a quote or = in it")
    return ",".join(f"{name}={value}" for name, value in arguments.items())


def command(
    launcher: str,
    arguments: Mapping[str, object],
    tasks: Sequence[str],
    include: Path,
    out: Path,
    limit: int | None,
    batch: int,
) -> list[str]:
    """The command that runs some tasks with one method.

    Args:
        launcher: what starts Python's modules, such as ``torchrun --nproc_per_node 8``; this Python where it is empty.
        arguments: of the model, see `visionflow.lmms.model.VisionFlow`.
        tasks: by name.
        include: the folder of the tasks that lmms-eval does not have.
        out: the folder for what lmms-eval writes.
        limit: questions of each task, the first ones; None for all.
        batch: questions at a time.
    """
    start = shlex.split(launcher) if launcher else [sys.executable]
    line = [*start, "-m", "lmms_eval", "--model", "visionflow", "--model_args", model_arguments(arguments)]
    line += ["--tasks", ",".join(tasks), "--include_path", str(include), "--batch_size", str(batch)]
    line += ["--output_path", str(out), "--log_samples"]
    return line + (["--limit", str(limit)] if limit else [])


def run(line: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
    """Run it, with all that it says in `log`.

    Raises:
        VisionFlowError: it could not be started, or ended with an error; what it said last stands in the message.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as file:
            ended = subprocess.run(line, stdout=file, stderr=file, env={**os.environ, **environment}, check=False)
    except OSError as error:
        raise VisionFlowError(f"cannot run {line[0]} ({error.strerror or error}): see --launcher and --out") from error
    if ended.returncode:
        raise VisionFlowError(f"lmms-eval failed: {last_words(log)} (all of it is in {log})")


def last_words(log: Path) -> str:
    """What went wrong, as far as a log tells: the last line of ours, or of an error."""
    said = _COLOUR.sub("", log.read_text(encoding="utf-8", errors="replace"))
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    ours = [line.removeprefix("visionflow: ") for line in lines if line.startswith("visionflow: ")]
    errors = [line for line in lines if re.match(r"\w*(Error|Exception|Interrupt)\b", line) or "| ERROR" in line]
    return (ours or errors or lines or ["it said nothing"])[-1].rpartition(" - ")[2]


def collect(out: Path, task: str, limit: int | None) -> Cell | None:
    """The latest whole run of a task that lmms-eval left under `out`; None if there is none.

    Raises:
        VisionFlowError: its files cannot be read.
    """
    for log in sorted(out.rglob(f"*_samples_{task}.jsonl"), key=lambda path: path.name, reverse=True):
        summary = log.with_name(log.name.replace(f"_samples_{task}.jsonl", "_results.json"))
        try:
            told = json.loads(summary.read_text(encoding="utf-8"))
            samples = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
            asked = told["n-samples"][task]["original"]
            if len(samples) == min(limit or asked, asked):
                return Cell(task, told["results"][task], sorted(samples, key=lambda sample: int(sample["doc_id"])))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise VisionFlowError(f"cannot read what lmms-eval wrote in {out} ({error}): delete it") from error
    return None
