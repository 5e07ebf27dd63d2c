"""`visionflow train`: the next embedded model, from nothing."""

import signal
import sys
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Annotated

import typer

from visionflow.cli.folders import check_out
from visionflow.cli.options import DEVICE_HELP, MOST_MINUTES, MOST_SEED, Threads, option, use_threads
from visionflow.cli.values import number, place, whole, word

if TYPE_CHECKING:
    from rich.progress import Progress

MOST_STEPS = 100_000_000


def train(
    out: Annotated[Path, option(place, "FOLDER", "Folder for the checkpoint, the curve and, at the end, the model.")],
    minutes: Annotated[
        float | None,
        option(number(0, MOST_MINUTES), "X", "Train for so many minutes.", shown="60 where no --steps are given"),
    ] = None,
    steps: Annotated[
        int | None, option(whole(1, MOST_STEPS), "N", "Train for so many steps instead: repeatable to the bit.")
    ] = None,
    seed: Annotated[int, option(whole(0, MOST_SEED), "N", "Seed of the first weights.")] = 0,
    start: Annotated[
        Path | None,
        option(place, "FOLDER", "Go on from a finished model's weights: no tower phase then.", "--from"),
    ] = None,
    interim: Annotated[
        Path | None,
        option(place, "FILE", "Go on from the interim.safetensors of a run that did not end.", "--resume-from"),
    ] = None,
    data: Annotated[
        Path | None,
        option(place, "FILE", "Learn to answer the questions of this .parquet file instead of the generated ones."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    device: Annotated[str, option(word, "DEVICE", DEVICE_HELP)] = "cpu",
    threads: Threads = None,
) -> None:
    """Train the next embedded model from nothing on pictures drawn on the fly.

    Ctrl-C leaves a checkpoint; the same command with --resume goes on from it.
    """
    check_out(out)
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from visionflow.checkpoint.recipe import Recipe
    from visionflow.checkpoint.training import STATE, Budget, Report
    from visionflow.checkpoint.training import train as run_training
    from visionflow.loading.models import check_device

    use_threads(threads)
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # what ends a job in the background leaves a checkpoint too
    check_device(device)
    budget = Budget(steps, 60.0 if steps is None and minutes is None else minutes)

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("step {task.fields[step]}  loss {task.fields[loss]}  right {task.fields[right]}"),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=Console(stderr=True))
    bar = progress.add_task("tower", total=1.0, step=0, loss="-", right="-")

    def show(report: Report) -> None:
        progress.start()  # with the first step, so that a refusal is one line
        progress.update(
            bar, completed=report.spent, description=report.phase, step=report.step, loss=f"{report.loss:.3f}"
        )
        if report.right is not None:
            progress.update(bar, right=f"{report.right['all']:.1%}")

    try:
        model = run_training(
            out,
            Recipe(seed=seed),
            budget,
            device=device,
            resume=resume,
            start=start,
            interim=interim,
            data=data,
            compiled=which("c++") is not None,
            on_step=show,
        )
    except KeyboardInterrupt:
        _stop(progress)
        begun = (out / STATE).exists()
        way_on = f"the same command with --resume goes on from {out}" if begun else "nothing was trained yet"
        print(f"visionflow: stopped; {way_on}", file=sys.stderr)
        raise typer.Exit(130) from None
    finally:
        _stop(progress)
    print(model)


def _stop(progress: "Progress") -> None:
    if progress.live.is_started:  # stopping a bar that never ran prints an empty line
        progress.stop()
