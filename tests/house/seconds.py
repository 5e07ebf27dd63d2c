"""`visionflow bench` of two checkouts in turns, in processor seconds: the ratio after/before, with its interval.

``python -m tests.house.seconds 805db82 here`` runs ``bench --model llava-1b --layers 12`` six times on each. Processor
seconds leave out what other programs take; what these do to the caches of the processor stays, so runs go in pairs,
each pair beginning with the other one. Takes an hour on two cores, ``--layers 1 --rounds 2`` some minutes.
"""

import json
import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from math import exp, inf
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from tests.house.checkouts import source

IN_PROCESSOR_SECONDS = "import time; time.perf_counter = time.process_time; from visionflow.cli import main; main()"
PASSES = {"prefill": "prefill_s", "token": "decode_s"}
MOST = 1.02
"""What the ratio's interval has to stay below for "nothing slower"."""

Times = dict[tuple[str, str], float]
"""Seconds by row and pass."""


def bench(folder: Path, options: Sequence[str]) -> Times:
    """One run of the package in `folder`; medians over its own rounds."""
    command = [sys.executable, "-c", IN_PROCESSOR_SECONDS, "bench", "--json", "--threads", "1", *options]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench failed in {folder}:\n{done.stderr.strip()}")
    rows: list[dict[str, Any]] = json.loads(done.stdout)["models"][0]["rows"]
    return {(row["name"], name): row[field]["median"] for row in rows for name, field in PASSES.items() if row[field]}


def in_pairs(before: Path, after: Path, options: Sequence[str], rounds: int) -> tuple[list[Times], list[Times]]:
    """So many runs of each, in turns."""
    runs: tuple[list[Times], list[Times]] = ([], [])
    for number in range(rounds):
        pair = [(before, runs[0]), (after, runs[1])]
        for folder, own in pair if number % 2 == 0 else reversed(pair):
            own.append(bench(folder, options))
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return runs


def ratio(before: Sequence[float], after: Sequence[float]) -> tuple[float, float, float]:
    """The geometric mean of after/before over pairs of runs, and its 95 % interval (Student's t of the logarithms)."""
    logs = np.log(np.array(after) / np.array(before))
    if len(logs) < 2:
        return exp(logs.mean()), 0.0, inf
    low, high = stats.t.interval(0.95, len(logs) - 1, logs.mean(), max(stats.sem(logs), 1e-12))
    return exp(logs.mean()), exp(low), exp(high)


def report(before: list[Times], after: list[Times]) -> Iterator[str]:
    """A line for each row and pass, and one for each pass of all rows together."""
    yield f"{'':28} {'before, s':>10} {'after, s':>10}   after/before"
    for name in PASSES:
        rows = [row for row, of_pass in before[0] if of_pass == name]
        for row in rows:
            yield _line(f"{name} of {row}", *([run[row, name] for run in runs] for runs in (before, after)))
        both = ([sum(run[row, name] for row in rows) for run in runs] for runs in (before, after))
        yield _line(f"{name} of all", *both)


def _line(what: str, before: list[float], after: list[float]) -> str:
    value, low, high = ratio(before, after)
    verdict = f"{value:.3f} ({low:.3f} to {high:.3f}), {'' if high < MOST else 'not '}below {MOST}"
    return f"{what:28} {np.median(before):10.4f} {np.median(after):10.4f}   {verdict}"


def main() -> None:
    """Say it of the two checkouts that are named."""
    parser = ArgumentParser(prog="python -m tests.house.seconds", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("before", help="a folder, a git revision, or here")
    parser.add_argument("after", help="likewise")
    parser.add_argument("--model", default="llava-1b")
    parser.add_argument("--layers", default="12")
    parser.add_argument("--rounds", type=int, default=6, help="pairs of runs")
    parser.add_argument("--repeats", default="2", help="rounds within each run")
    given = parser.parse_args()
    options = ["--model", given.model, "--layers", given.layers, "--repeats", given.repeats, "--time-limit", "60"]
    with ExitStack() as stack:
        before, after = (stack.enter_context(source(each)) for each in (given.before, given.after))
        print("\n".join(report(*in_pairs(before, after, options, given.rounds))))


if __name__ == "__main__":
    main()
