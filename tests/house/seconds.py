"""Prefills and tokens of two checkouts in turns, in processor seconds: the ratio after/before with its interval.

``python -m tests.house.seconds 805db82 here`` runs a model of random weights, in the shape of `visionflow bench`'s
llava-1b, in a process for each checkout; both stay, and every pass is run by one right after the other, so that what
other programs do to clock and caches meets both. The unpruned row is transformers alone: it says how far to trust the
others. Some ten minutes on one core; with ``--pairs FILE`` a second run adds to the pairs of the first.
"""

import json
import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from math import exp, inf, nan
from pathlib import Path
from time import process_time

import numpy as np
from scipy import stats

from tests.house.checkouts import ROOT, source

DENSE = "none"
PASSES = ("prefill", "token")
STEPS = 6
MOST = 1.02
"""What the ratio's interval has to stay below for "nothing slower"."""

Pairs = dict[str, list[tuple[float, float]]]
"""Seconds before and after, by pass and row."""


def work(shape: str, layers: int) -> None:
    """Run each row that is named on stdin once, by the package imported here; its seconds go to stdout as JSON."""
    import torch

    from tests.house.operations import METHODS
    from visionflow import prune
    from visionflow.bench.passes import answer
    from visionflow.bench.prompt import make_prompt
    from visionflow.bench.shapes import random_model, shape_config

    torch.set_num_threads(1)
    model = random_model(shape_config(shape, layers), torch.float32, torch.device("cpu"))
    methods = {type(method).name: method for method in METHODS}
    prompt = make_prompt(model, 1, None, 64)
    with torch.inference_mode():
        inputs = prompt.decoder_inputs(prompt.features(model))
    print(json.dumps([DENSE, *methods]), flush=True)
    for line in sys.stdin:
        row, marks = line.strip(), list[float]()
        run = partial(answer, model, inputs, STEPS, lambda marks=marks: marks.append(process_time()))
        if row == DENSE:
            run()
        else:
            with prune(model, methods[row]):
                run()
        start, first, end = marks
        print(json.dumps([first - start, (end - first) / STEPS]), flush=True)


class Worker:
    """A process of one checkout that keeps its model."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.rows: list[str] = self._said()

    def run(self, row: str) -> list[float]:
        """Seconds of the prefill and of a token."""
        assert self._process.stdin is not None
        print(row, file=self._process.stdin, flush=True)
        return self._said()

    def _said(self) -> list:  # type: ignore[type-arg]  # of names or of seconds
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a checkout cannot run this: what it wrote stands above")
        said: list = json.loads(line)  # type: ignore[type-arg]
        return said


@contextmanager
def worker(folder: Path, shape: str, layers: int) -> Iterator[Worker]:
    """A worker of the package in `folder`, for as long as the scope is open."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.house.seconds", "--work", shape, str(layers)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Worker(process)
        finally:
            process.terminate()


def in_pairs(before: Worker, after: Worker, rounds: int) -> Pairs:
    """All rows in turns, each by both; who begins changes from round to round. The first round warms up."""
    pairs: Pairs = {f"{name} of {row}": [] for name in PASSES for row in after.rows}
    for number in range(rounds + 1):
        for row in after.rows:
            early, late = (after, before) if number % 2 else (before, after)
            first, second = early.run(row), late.run(row)
            for name, *both in zip(PASSES, first, second, strict=True):
                if number:
                    pairs[f"{name} of {row}"].append((both[number % 2], both[1 - number % 2]))
        print(f"round {number} of {rounds}", file=sys.stderr)
    return pairs


def ratio(before: Sequence[float], after: Sequence[float]) -> tuple[float, float, float]:
    """The median of after/before over pairs of runs, and its 95 % interval (bootstrap).

    A pass that another program disturbed is an outlier of either side, so the mean tells less than the median.
    """
    logs = np.log(np.array(after) / np.array(before))
    if len(logs) < 2:
        return exp(logs[0]) if len(logs) else nan, 0.0, inf
    found = stats.bootstrap((logs,), np.median, method="percentile", rng=np.random.default_rng(0))
    low, high = found.confidence_interval
    return exp(np.median(logs)), exp(low), exp(high)


def report(pairs: Pairs) -> Iterator[str]:
    """A line for each row and pass, and one for each pass over the pairs of all pruned rows."""
    yield f"{'':24} {'before, s':>10} {'after, s':>10}   after/before"
    for name in PASSES:
        rows = {row: both for row, both in pairs.items() if row.startswith(name)}
        pruned = [pair for row, both in rows.items() if row != f"{name} of {DENSE}" for pair in both]
        for row, both in (*rows.items(), (f"{name} of all pruned", pruned)):
            before, after = zip(*both, strict=True)
            value, low, high = ratio(before, after)
            verdict = f"{value:.3f} ({low:.3f} to {high:.3f}), {'' if high < MOST else 'not '}below {MOST}"
            yield f"{row:24} {np.median(before):10.4f} {np.median(after):10.4f}   {verdict}"


def main() -> None:
    """Say it of the two checkouts that are named."""
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], int(sys.argv[3]))
        return
    parser = ArgumentParser(prog="python -m tests.house.seconds", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("before", help="a folder, a git revision, or here")
    parser.add_argument("after", help="likewise")
    parser.add_argument("--model", default="llava-1b")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=40, help="pairs of passes of each row")
    parser.add_argument("--pairs", type=Path, help="a file of pairs, to which these are added")
    given = parser.parse_args()
    with ExitStack() as stack:
        folders = [stack.enter_context(source(each)) for each in (given.before, given.after)]
        both = [stack.enter_context(worker(folder, given.model, given.layers)) for folder in folders]
        pairs = in_pairs(both[0], both[1], given.rounds)
    if given.pairs:
        known = json.loads(given.pairs.read_text()) if given.pairs.exists() else {}
        pairs = {row: [*known.get(row, ()), *more] for row, more in pairs.items()}
        given.pairs.write_text(json.dumps(pairs))
    print("\n".join(report(pairs)))


if __name__ == "__main__":
    main()
