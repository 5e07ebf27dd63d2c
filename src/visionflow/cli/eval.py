"""`visionflow eval`: how often each method is right, beside what it costs."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from visionflow.cli.method_options import METHODS_HERE
from visionflow.cli.options import (
    Batch,
    CostName,
    Device,
    Dtype,
    Folder,
    Json,
    Limit,
    Model,
    OnlyVisual,
    Seed,
    SightName,
    SuiteName,
    Tasks,
    Threads,
    option,
    use_threads,
)
from visionflow.cli.output import print_json, quiet_libraries, working
from visionflow.cli.progress import questions
from visionflow.cli.values import methods as read_methods
from visionflow.cli.values import number
from visionflow.errors import VisionFlowError

if TYPE_CHECKING:
    from visionflow.report.eval import EvalReport


def evaluate(
    suite: SuiteName = "scenes",
    model: Model = "embedded",
    limit: Limit = 200,
    tasks: Tasks = None,
    methods: Annotated[
        Sequence[str] | None,
        option(
            read_methods,
            "A,B",
            "Rows by name, and always dense: oracle, random-end, random-average, random-steps, fastv, fastv-end, "
            "fastv-average, himap-paid, himap-received, himap-stage1, himap-stage2, vtw, visipruner, no-image, and any "
            f"method ({METHODS_HERE}; fastv:k=3,r=0.5; a plan file; package.module:Class); with "
            "--sweep the curves oracle, random, random-steps, fastv, himap-paid, himap-received, vtw; with --phases "
            "visipruner, visipruner-middle, -middle-deep, -shallow, -cached, -released, -by-last, -by-text, -by-image.",
            shown="all",
        ),
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Accuracy against cost, each method at several ratios; a plot in --out.")
    ] = False,
    phases: Annotated[
        bool, typer.Option("--phases", help="VisiPruner phase by phase, and by its four ways to choose tokens.")
    ] = False,
    budget: Annotated[
        float | None,
        option(
            number(0.01, 1, below=True),
            "X",
            "The fair table: controls and methods at this share of what dense takes (--cost), each with ratios that "
            "meet it (and earlier layers where it must); --methods names others, with the layers to start from.",
            shown="none",
        ),
    ] = None,
    cost: CostName = "flops",
    against: Annotated[
        Sequence[str] | None,
        option(
            read_methods,
            "A,B",
            "Rows that every other row is compared with, corrected for the number of pairs (Holm).",
            shown="dense,random with --budget",
        ),
    ] = None,
    sight: SightName = "picture",
    only_visual: OnlyVisual = False,
    seed: Seed = 0,
    batch: Batch = 16,
    out: Folder = None,
    device: Device = None,
    dtype: Dtype = None,
    threads: Threads = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="Print Tables 1 and 2 of the HiMAP paper, rebuilt, as Markdown instead.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Accuracy of each method on a suite, beside its cost: 95 % intervals, and paired tests against the dense model.

    With --out, Ctrl-C loses nothing: the same command goes on from there.
    """
    _check_extras()
    if paper and (tasks or methods or sweep or phases or budget is not None or as_json):
        raise VisionFlowError(
            "--paper needs every task and row: leave out --tasks, --methods, --sweep, --phases, --budget and --json"
        )
    if sweep + phases + (budget is not None) > 1:
        raise VisionFlowError("--sweep, --phases and --budget are sets of rows: leave out all but one of them")
    if cost != "flops" and budget is None:
        raise VisionFlowError("--cost says what --budget is a share of: give one, or leave it out")
    if paper and suite != "scenes":
        raise VisionFlowError("--paper compares with the generated world: leave out --suite")
    from visionflow.evaluation.suites import suite_called

    asked = suite_called(suite)
    samples = asked.samples(limit, tasks or ())
    with working(f"loading the {model} model"):
        quiet_libraries(model)
        from visionflow.evaluation.batches import check_prompts
        from visionflow.evaluation.records import Records
        from visionflow.evaluation.run import check_against, run_of
        from visionflow.evaluation.runner import check_rows
        from visionflow.evaluation.runner import evaluate as run_all
        from visionflow.evaluation.summary import summarise
        from visionflow.loading.models import load_model
        from visionflow.report.eval import EvalReport
        from visionflow.report.paper_tables import check_tasks

        if paper:
            check_tasks({sample.task for sample in samples})
        use_threads(threads)
        loaded = load_model(model, dtype, device)
        run = run_of(
            loaded,
            asked.name,
            samples,
            methods=methods or (),
            rows="sweep" if sweep else "phases" if phases else "table",
            sight=sight,
            filtered=only_visual,
            seed=seed,
            budget=budget,
            cost=cost,  # type: ignore[arg-type]  # read by one_of
        )
        others = against or (("dense", "random") if budget is not None else ())
        check_against(others, run.rows)
        check_rows(loaded.model, samples, run.rows)
        check_prompts(loaded, samples)
        records = Records(out, run.described, samples)
    with questions(f"{len(run.rows)} rows", len(samples), records) as on_batch:
        done = run_all(loaded, samples, run.rows, records, batch, on_batch)
    _tell(EvalReport(run, summarise(done, seed, only_visual, others), only_visual, sweep, out), paper, as_json)


def _tell(found: "EvalReport", paper: bool, as_json: bool) -> None:
    from visionflow.report.sheet import screen

    found.draw()
    if as_json:
        print_json(found.to_json())
    elif paper:
        print(found.to_markdown())
    else:
        found.show(screen())


def _check_extras() -> None:
    """What is missing is said before the work, not after it."""
    for package in ("scipy", "pycocoevalcap", "matplotlib"):
        if find_spec(package) is None:
            raise VisionFlowError(f"eval needs the package {package}: pip install 'visionflow[eval]'")
