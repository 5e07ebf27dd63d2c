"""Progress on standard error where that is a terminal; over the questions of a suite, and a way on after Ctrl-C."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from visionflow.store import Store


@contextmanager
def questions(what: str, total: int, records: "Store") -> Iterator[Callable[[str, int], None]]:
    """Yields what is to be called after each batch with its task and the number of questions done.

    Raises:
        typer.Exit: with code 130, after saying how to go on, where the work was interrupted.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("questions"))
    clock = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=False))
    try:
        with Progress(
            *columns, *clock, console=console, disable=not console.is_terminal, speed_estimate_period=600
        ) as progress:
            bar = progress.add_task(what, total=total, completed=len(records.known))
            yield lambda task, done: progress.update(bar, completed=done, description=f"{what}, {task}")
    except KeyboardInterrupt:
        way_on = f"the same command goes on from {records.folder}" if records.folder else "with --out it could go on"
        print(f"visionflow: stopped after {len(records.known)} of {total} questions; {way_on}", file=sys.stderr)
        raise typer.Exit(130) from None


@contextmanager
def steps(what: str) -> Iterator[Callable[[str, int, int], None]]:
    """Yields what is to be called after each step: what it was, and how many of how many are done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(what, total=None)
        yield lambda step, done, total: progress.update(bar, completed=done, total=total, description=f"{what}, {step}")


@contextmanager
def timed_steps(what: str, seconds: float) -> Iterator[Callable[[str, int, int], None]]:
    """As `steps`, of work that ends after so many seconds: beside the time that has gone by stands what is left."""
    import time

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console, began = Console(stderr=True), time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(
        *columns, TextColumn("at most {task.fields[left]} left"), console=console, disable=not console.is_terminal
    ) as progress:
        bar = progress.add_task(what, total=None, left=_clock(seconds))

        def tell(step: str, done: int, total: int) -> None:
            left = _clock(max(0.0, seconds - (time.monotonic() - began)))
            progress.update(bar, completed=done, total=total, description=f"{what}, {step}", left=left)

        yield tell


def _clock(seconds: float) -> str:
    """``9:05``."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
