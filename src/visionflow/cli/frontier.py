"""`visionflow frontier`: tuned, hand-set and control rows at equal cost, as a table and a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from visionflow.cli.method_options import METHODS_HERE
from visionflow.cli.options import (
    MOST_TOKENS,
    Batch,
    CostName,
    Device,
    Dtype,
    Json,
    Limit,
    Model,
    Seed,
    SuiteName,
    Tasks,
    Threads,
    option,
    use_threads,
)
from visionflow.cli.values import methods as read_methods
from visionflow.cli.values import place, shares, whole


def frontier(
    plans: Annotated[
        list[str] | None,
        typer.Argument(metavar="PLAN", help="Plan files of visionflow tune; any number.", show_default=False),
    ] = None,
    model: Model = "embedded",
    suite: SuiteName = "scenes",
    tasks: Tasks = None,
    limit: Limit = 64,
    budgets: Annotated[Sequence[float], option(shares, "X,X", "Shares of dense that every method is made to fit.")] = (
        0.5,
        0.33,
        0.25,
    ),
    cost: CostName = "flops",
    methods: Annotated[
        Sequence[str] | None,
        option(
            read_methods,
            "A,B",
            f"Methods at each budget beside random, grid and unlike-mean, their ratios found for it ({METHODS_HERE}).",
            shown="those of eval --budget",
        ),
    ] = None,
    right: Annotated[
        bool, typer.Option("--right", help="Also answer every prompt with every row, and say how often that is right.")
    ] = False,
    new_tokens: Annotated[int, option(whole(1, MOST_TOKENS), "N", "Length of the dense answers, at most.")] = 32,
    batch: Batch = 8,
    out: Annotated[
        Path, option(place, "FOLDER", "Folder for the figure and what was measured; the same command goes on there.")
    ] = Path("frontier"),
    seed: Seed = 0,
    device: Device = None,
    dtype: Dtype = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """How far from dense tuned, hand-set and control rows are at equal cost: a table, and a picture in --out.

    Measured is KL(dense || pruned) over the dense model's own answers, on prompts that visionflow tune does not see.
    """
    from visionflow.cli.folders import make_folder
    from visionflow.cli.output import print_json, quiet_libraries, working
    from visionflow.cli.progress import steps
    from visionflow.evaluation.suites import suite_called
    from visionflow.report.sheet import screen

    make_folder(out)
    asked = suite_called(suite)
    with working(f"loading the {model} model"):
        quiet_libraries(model)
        from visionflow.answering import enough_memory
        from visionflow.evaluation.records import Records
        from visionflow.evaluation.rows import DENSE
        from visionflow.loading.models import load_model
        from visionflow.report.frontier import FrontierReport
        from visionflow.tuning.frontier import configurations, measure, table_of
        from visionflow.tuning.measurements import Measurements
        from visionflow.tuning.suites import described

        use_threads(threads)
        loaded = load_model(model, dtype, device)
        samples = asked.samples(limit, tasks or ())
        table = table_of(
            loaded,
            samples,
            plans or (),
            budgets,
            methods or (),
            seed,
            cost,  # type: ignore[arg-type]  # read by one_of
        )
        run = described(loaded, asked, {"prompts": samples}, batch, new_tokens)
        known = Measurements(out / "kl", run)
        rows = {row.name: row.settings for row in (DENSE, *configurations(table))}
        records = Records(out / "answers", run | {"rows": rows}, samples) if right else None
    way_out = "lower --batch, or try --dtype bfloat16 or --device cpu"
    with enough_memory(loaded.model.device, way_out), steps(f"{len(table.rows)} rows") as on_step:
        points, dense_right = measure(
            loaded, samples, table, known, batch=batch, new_tokens=new_tokens, records=records, on_step=on_step
        )
    report = FrontierReport(loaded.name, asked.name, len(samples), table, points, dense_right, out)
    report.draw()
    if as_json:
        print_json(report.to_json())
    else:
        report.show(screen())
