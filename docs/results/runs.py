"""All runs that docs/results and docs/study tell of: ``make results``, or ``python docs/results/runs.py --out FOLDER``.

Each is a command of `visionflow`, whose JSON is FOLDER/NAME.json and whose records are in FOLDER/NAME. What is there is
not run again, and what was interrupted goes on. All run in one process, so that questions and pictures are drawn once.
`docs/results/pages.py` makes the tables of these files.
"""

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from visionflow.cli.app import app as visionflow
from visionflow.evaluation.samples import Sample, Suite
from visionflow.evaluation.suites import SUITES


class Budget(NamedTuple):
    """A table of rows at equal cost.

    Attributes:
        share: of what dense takes.
        cost: by which convention.
        minutes: for `visionflow tune`; later budgets begin with the single cuts that the first has measured.
        many: questions, as a multiple of the limit.
    """

    share: float
    cost: str = "flops"
    minutes: float = 4
    many: int = 1

    @property
    def name(self) -> str:
        """As `visionflow tune` has it in the name of a plan file."""
        return f"{'' if self.cost == 'flops' else f'{self.cost}-'}{self.share:g}"

    @property
    def arguments(self) -> str:
        """Of `visionflow eval` and `visionflow tune`."""
        return f"--budget {self.share:g} --cost {self.cost}"


BUDGETS = (Budget(0.33, minutes=10, many=2), Budget(0.25), Budget(0.5), Budget(0.1, "paper"))

CONTROLS = (
    "grid:k=0,r=0.75",
    "unlike-mean:k=0,r=0.75",
    "random:k=1,r=0.75",
    "visionflow.evaluation.oracle:Oracle:k=1,r=0.75",
)
"""A quarter of the image tokens: what the world has to tell apart."""

EARLY = "random:k=1"
"""The control `random` cuts before layer 2; the earlier the cut, the more tokens stay at the same cost."""

OPTIONS = (
    *("fastv:k=1", "fastv:k=2", "fastv:k=3", "fastv:k=4"),
    *(
        f"himap:k1={k1},k2={k2},deep_criterion={each}"
        for k1, k2 in ((1, 4), (2, 6), (2, 8))
        for each in ("paid", "received")
    ),
    *("text-rows", "text-rows:layers=2+6", "text-rows:layers=3+8"),
    *("pyramiddrop", "pyramiddrop:layers=2+4+6", "pyramiddrop:layers=1+4+8"),
    *("sparsevlm", "sparsevlm:layers=2+4+6", "sparsevlm:recycle=false"),
    *("dart:k=1", "dart:k=2", "dart:k=3"),
    *("deft:k=2", "deft:k=4"),
    *("divprune:k=0", "divprune:k=2"),
    *("visionzip", "visionzip:contextual=0"),
    *("cdpruner:k=0", "cdpruner:k=2", "cdpruner:negated=true"),
    *("scope", "scope:alpha=2"),
    *("mmtok:k=0", "mmtok:k=2"),
    *("cover", "cover:top=0.5"),
    *("flowcut", "vtw", "autoprune"),
)
"""What each method is offered; at each budget the one nearest to dense on validation prompts is run on test."""

DEPTHS = (2, 4, 6, 8)
"""Before which layer HiMAP's second criterion is tried, by itself."""

PARTS = "dense,controls,choices,fair,frontier,himap,study"


class Run(NamedTuple):
    """A command.

    Attributes:
        name: of its file and its folder.
        arguments: of `visionflow`, or of the script where the first is one.
        out: whether it keeps records in its folder.
    """

    name: str
    arguments: str
    out: bool = True


def dense(limit: int) -> Iterator[Run]:
    """How good the model is, with the picture, without it and with a grey one."""
    yield Run("dense", f"eval --methods dense,no-image --limit {limit * 125 // 56} --dtype float32")
    yield Run("open", f"eval --methods dense,no-image --tasks open --limit {limit * 75 // 56} --dtype float32")
    yield Run("grey", f"eval --methods dense --sight grey --limit {limit // 2}")


def controls(limit: int) -> Iterator[Run]:
    """What is lost where tokens are chosen without looking, and what where it is known which are needed."""
    rows = ",".join(CONTROLS)
    yield Run("controls", f"eval --methods {rows} --limit {limit}")
    yield Run("controls-open", f"eval --methods {rows} --tasks open --limit {limit * 75 // 112}")


def choices(out: Path) -> Iterator[Run]:
    """What is chosen on validation prompts: of each method the option, by its KL at each budget, and the schedules."""
    suite = out / "validation.parquet"
    yield Run("validation", f"scenes --split validation --limit 6 --force --out {suite}", out=False)
    for cost in dict.fromkeys(each.cost for each in BUDGETS):
        shares = ",".join(f"{each.share:g}" for each in BUDGETS if each.cost == cost)
        rows = f"--methods {','.join(OPTIONS)} --budgets {shares} --cost {cost}"
        yield Run(f"options-{cost}", f"frontier --suite {suite} {rows} --limit 42")
    for budget in BUDGETS:
        minutes = f"--minutes {budget.minutes:g} --limit 96 --validation 96"
        yield Run(f"tune-{budget.name}", f"tune {budget.arguments} {minutes} --out {out / 'tuned'}", out=False)


def fair(budget: Budget, limit: int, out: Path) -> Iterator[Run]:
    """Methods and controls at one budget, each as it was chosen, run once on test questions."""
    plan = plan_of(out, budget)
    rows = f"--methods {','.join([*chosen(out, budget), EARLY, plan])} --against {plan},dense,random"
    yield Run(f"fair-{budget.name}", f"eval {budget.arguments} {rows} --limit {budget.many * limit}")


def frontier(out: Path) -> Iterator[Run]:
    """The same by KL, on other prompts."""
    budgets = [each for each in BUDGETS if each.cost == "flops"]
    plans = " ".join(plan_of(out, each) for each in budgets)
    shares = ",".join(f"{each.share:g}" for each in budgets)
    methods = ",".join(dict.fromkeys(each for budget in budgets for each in chosen(out, budget)))
    yield Run("frontier", f"frontier {plans} --budgets {shares} --methods {methods} --limit 56")


def himap(limit: int) -> Iterator[Run]:
    """One cut on eq. 9 in either form, on attention, and by lot, at four depths; and the paper's own rows."""
    few, methods = limit * 5 // 28, ",".join(second_cuts())
    yield Run("second-cut", f"eval --methods {methods} --tasks existence,caption,open,pair,turns --limit {few}")
    rows, tasks = "oracle,random-steps,fastv,himap-paid,himap-received", "choice,science,existence,caption,open"
    yield Run("paper", f"eval --methods {rows} --tasks {tasks} --limit {few}")


def study(limit: int, out: Path) -> Iterator[Run]:
    """Where the picture enters, what it is read by, and VisiPruner's phases."""
    layers = ",".join(f"vtw:k={k}" for k in range(2, 11))
    yield Run("depth", f"eval --methods {layers} --limit {limit // 2}")
    yield Run("saliency", f"saliency --limit {limit // 10} --dtype float32")
    yield Run("disrupt", f"disrupt --limit {limit // 10} --dtype float32")
    yield Run("phases", f"eval --phases --limit {limit // 4}")
    yield Run("saliency-released", f"saliency --convention released --limit {limit // 10} --dtype float32")


def second_cuts() -> dict[str, tuple[int, str]]:
    """By method, where it makes its one cut, and on what; a quarter is left."""
    found = {}
    for k2 in DEPTHS:
        for form in ("paid", "received"):
            found[f"himap:k1=1,r1=0.0,k2={k2},r2=0.75,deep_criterion={form}"] = (k2, form)
        for choice in ("text", "last", "random"):
            found[f"schedule:steps={k2}/{choice}/0.25"] = (k2, choice)
    return found


def plan_of(out: Path, budget: Budget) -> str:
    """The plan file that `visionflow tune` writes."""
    return str(out / "tuned" / f"plan-{budget.name}.json")


def chosen(out: Path, budget: Budget) -> list[str]:
    """Of each method the option with the least KL on validation prompts at that budget, where one gets there."""
    best: dict[str, dict[str, Any]] = {}
    for point in json.loads((out / f"options-{budget.cost}.json").read_text())["points"]:
        family = point["series"].partition(":")[0]
        if point["budget"] == budget.share and (family not in best or point["kl"] < best[family]["kl"]):
            best[family] = point
    return [point["series"] for family, point in best.items() if family not in ("random", "grid", "unlike-mean")]


def main(
    out: Annotated[Path, typer.Option(help="Folder for all runs; what is there is not run again.")],
    model: Annotated[str, typer.Option(help="A saved model, or embedded.")] = "embedded",
    parts: Annotated[str, typer.Option(help="Which runs, in this order; fair-0.33 for one budget.")] = PARTS,
    limit: Annotated[int, typer.Option(help="Questions of the table at a quarter; others in proportion.")] = 1344,
) -> None:
    """Run all of them, the most important first."""
    out.mkdir(parents=True, exist_ok=True)
    SUITES["scenes"] = drawn_once(SUITES["scenes"])
    makers: dict[str, Callable[[], Iterator[Run]]] = {
        "dense": lambda: dense(limit),
        "controls": lambda: controls(limit),
        "choices": lambda: choices(out),
        "fair": lambda: chain.from_iterable(fair(budget, limit, out) for budget in BUDGETS),
        **{f"fair-{budget.name}": lambda budget=budget: fair(budget, limit, out) for budget in BUDGETS},
        "frontier": lambda: frontier(out),
        "himap": lambda: himap(limit),
        "study": lambda: study(limit, out),
    }
    for part in parts.split(","):
        for run in makers[part]():
            measure(run, out, model)


def measure(run: Run, out: Path, model: str) -> None:
    """Run a command if its file is not there, and say what it took."""
    file = out / f"{run.name}.json"
    if file.exists():
        return
    arguments = shlex.split(run.arguments)
    asks = arguments[0] != "scenes"
    more = ["--model", model, "--threads", "1", "--json"] if asks else []
    more += ["--out", str(out / run.name)] if run.out else []
    more += ["--dtype", "bfloat16"] if asks and "--dtype" not in arguments else []
    more += ["--batch", "32"] if arguments[0] == "eval" else []
    print("visionflow", *arguments, *more, file=sys.stderr, flush=True)
    began, half = (time.monotonic(), time.process_time()), file.with_suffix(".part")
    with half.open("w", encoding="utf-8") as told, redirect_stdout(told):
        visionflow(args=[*arguments, *more], prog_name="visionflow", standalone_mode=False)
    half.replace(file)
    took = f"{time.monotonic() - began[0]:.0f} s, {time.process_time() - began[1]:.0f} s of processor time"
    print(f"{run.name}: {took}", file=sys.stderr, flush=True)
    with (out / "took.txt").open("a", encoding="utf-8") as log:
        log.write(f"{run.name}: {took}\n")


def drawn_once(suite: Suite) -> Suite:
    """The same suite, whose questions and pictures are kept when they have been made."""

    @cache
    def sample(task: str, number: int) -> Sample:
        found = suite.sample(task, number)
        pictures = found.images()
        return replace(found, images=lambda: pictures)

    return replace(suite, sample=sample)


if __name__ == "__main__":
    typer.run(main)
