"""`visionflow eval`: how often each method is right, beside what it costs."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visionflow.cli.output import print_json, quiet_libraries, working
from visionflow.errors import VisionFlowError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from visionflow.evaluation.records import Record, Records
    from visionflow.evaluation.rows import Row
    from visionflow.evaluation.samples import Sample
    from visionflow.loading.models import Loaded

CURVE = "curve.png"


def evaluate(
    suite: Annotated[
        str,
        typer.Option(
            help="What is asked: scenes (the generated world, unseen scenes), or FILE.parquet in the layout that "
            "visionflow scenes writes."
        ),
    ] = "scenes",
    model: Annotated[
        str | None,
        typer.Option(help="A directory with a saved model, or owner/name on the Hub. [default: the embedded model]"),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Number of questions in all, spread evenly over the tasks, at most.")
    ] = 200,
    tasks: Annotated[
        str, typer.Option(metavar="A,B", help="Some of choice, science, existence, caption, open. [default: all]")
    ] = "",
    methods: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="Rows by name, and always dense: oracle, random-end, random-average, random-steps, fastv, fastv-end, "
            "fastv-average, himap-paid, himap-received, himap-stage1, himap-stage2, vtw, no-image; with --sweep the "
            "curves oracle, random, random-steps, fastv, himap-paid, himap-received, vtw. [default: all]",
        ),
    ] = "",
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Accuracy against cost, each method at several ratios; a plot in --out.")
    ] = False,
    sight: Annotated[
        str, typer.Option(help="picture, grey or none: what the model sees, to check that the image matters.")
    ] = "picture",
    only_visual: Annotated[
        bool, typer.Option("--filter", help="Leave out what dense answers rightly without the image (appendix B).")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the random rows and of the bootstrap.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Questions at a time; it does not change the answers.")] = 16,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the records; the same command goes on from what is there.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, ... [default: the GPU where there is one]")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32, bfloat16 or float16. [default: the checkpoint's; float32 for the embedded model]"),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; torch decides if not given.")] = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="Print Tables 1 and 2 of the HiMAP paper, rebuilt, as Markdown instead.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Accuracy of each method on a suite, beside its cost: 95 % intervals, and paired tests against the dense model.

    With --out, Ctrl-C loses nothing: the same command goes on from there.
    """
    _check_extras()
    if paper and (tasks or methods or sweep or as_json):
        raise VisionFlowError("--paper needs every task and row: leave out --tasks, --methods, --sweep and --json")
    if paper and suite != "scenes":
        raise VisionFlowError("--paper compares with the generated world: leave out --suite")
    from visionflow.evaluation.suites import suite_called

    asked = suite_called(suite)
    samples = asked.samples(limit, _names(tasks))
    with working(f"loading the {model or 'embedded'} model"):
        quiet_libraries(model)
        import torch

        from visionflow.evaluation.plan import plan_run
        from visionflow.evaluation.records import Records
        from visionflow.evaluation.runner import check_rows
        from visionflow.loading.models import load_model

        if threads is not None:
            torch.set_num_threads(threads)
        loaded = load_model(model, dtype, device)
        run = plan_run(
            loaded,
            asked.name,
            samples,
            methods=_names(methods),
            sweep=sweep,
            sight=sight,
            filtered=only_visual,
            seed=seed,
        )
        check_rows(loaded.model, samples, run.rows)
        records = Records.open(out, run.described, samples) if out else Records()
    done = _run(loaded, samples, run.rows, records, batch)

    from rich.console import Console

    from visionflow.evaluation import curve, paper_tables, tables
    from visionflow.evaluation.report import report, to_json

    reports = report(done, seed, only_visual)
    settings = {row.name: row.settings for row in run.rows}
    if sweep and out:
        curve.draw_curve(reports, run.rows, out / CURVE)
    if as_json:
        content = run.described | {"filter": only_visual, "tables": to_json(reports)}
        print_json(content | ({"curve": curve.points(reports, run.rows)} if sweep else {}))
    elif paper:
        print(paper_tables.paper_tables(reports))
    else:
        console = Console(markup=False, highlight=False)
        console.width = max(console.width, tables.WIDTH)
        tables.show(reports, settings, console)
        if out:
            console.print(f"\nThe records are in {out}" + (f", the curve in {out / CURVE}" if sweep else ""))


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]


def _check_extras() -> None:
    """What is missing is said before the work, not after it."""
    for package in ("scipy", "pycocoevalcap", "matplotlib"):
        if find_spec(package) is None:
            raise VisionFlowError(f"eval needs the package {package}: pip install 'visionflow[eval]'")


def _run(
    loaded: "Loaded", samples: "Sequence[Sample]", rows: "list[Row]", records: "Records", batch: int
) -> "list[Record]":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from visionflow.evaluation.runner import evaluate as run_all

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("questions"))
    clock = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=False))
    try:
        with Progress(
            *columns, *clock, console=console, disable=not console.is_terminal, speed_estimate_period=600
        ) as progress:
            bar = progress.add_task(f"{len(rows)} rows", total=len(samples), completed=len(records.by_id))

            def on_batch(task: str, done: int) -> None:
                progress.update(bar, completed=done, description=f"{len(rows)} rows, {task}")

            return run_all(loaded, samples, rows, records, batch, on_batch)
    except KeyboardInterrupt:
        way_on = f"the same command goes on from {records.folder}" if records.folder else "with --out it could go on"
        print(f"visionflow: stopped after {len(records.by_id)} of {len(samples)} questions; {way_on}", file=sys.stderr)
        raise typer.Exit(130) from None
