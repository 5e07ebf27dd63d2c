"""`visionflow reproduce`: a paper's table run again, through lmms-eval."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visionflow.cli.options import MOST_AT_A_TIME, MOST_QUESTIONS, Device, Dtype, Json, Model, option
from visionflow.cli.output import print_json, quiet_libraries
from visionflow.cli.values import names, one_of, place, whole, word
from visionflow.errors import VisionFlowError

if TYPE_CHECKING:
    from visionflow.lmms.reproduction import Reproduction
    from visionflow.lmms.tables import Column, PaperTable


def reproduce(
    table: Annotated[str, typer.Argument(help="himap-table1, himap-table2 or visipruner-table5.")],
    model: Model = "llava-hf/llava-1.5-7b-hf",
    limit: Annotated[
        int | None,
        option(whole(1, MOST_QUESTIONS), "N", "Questions of each data set, the first ones.", shown="all"),
    ] = None,
    columns: Annotated[
        Sequence[str] | None, option(names, "A,B", "Some of the table's data sets, as printed.", shown="all")
    ] = None,
    prompts: Annotated[
        str,
        option(
            one_of("prompts", "paper", "harness"),
            "NAME",
            "paper: the paper's own, where it states them; harness: lmms-eval's.",
        ),
    ] = "paper",
    data_dir: Annotated[
        Path | None,
        option(place, "FOLDER", "Local copies of data sets, each in a folder of its name. See --dry-run."),
    ] = None,
    out: Annotated[
        Path | None,
        option(place, "FOLDER", "Folder for everything; the same command goes on there.", shown="runs/reproduce/..."),
    ] = None,
    batch: Annotated[int, option(whole(1, MOST_AT_A_TIME), "N", "Questions at a time.")] = 1,
    launcher: Annotated[
        str | None,
        option(word, "COMMAND", "What starts lmms-eval on several GPUs: 'torchrun --nproc_per_node 8'."),
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is needed, where it was found, and what would be run.")
    ] = False,
    as_json: Json = False,
) -> None:
    """A paper's table on its public benchmarks: the paper's figure, ours, the difference and the interval.

    Each method is run by lmms-eval with the paper's settings, and interrupted work is gone on with. The embedded model
    is asked questions of the generated world, in the columns of each data set.
    """
    from visionflow.lmms.harness import check_installed
    from visionflow.lmms.reproduction import Reproduction
    from visionflow.lmms.tables import table_called

    chosen = table_called(table)
    if data_dir and not data_dir.is_dir():
        raise VisionFlowError(f"there is no folder {data_dir}: give the one that holds the data sets")
    quiet_libraries(model)
    asked = Reproduction(
        chosen,
        _columns(chosen, columns),
        model,
        out or Path("runs/reproduce") / chosen.name / model.strip("/").replace("/", "--"),
        prompts,
        limit,
        data_dir,
        batch,
        launcher or "",
        device,
        dtype,
    )
    if dry_run:
        _say_needs(asked)
    else:
        check_installed()
        asked.check()
        _check_needs(asked)
    with asked.prepare():
        if dry_run:
            _say_commands(asked)
            return
        try:
            asked.run(_say_row)
        except KeyboardInterrupt:
            print(f"visionflow: stopped; the same command goes on from {asked.out}", file=sys.stderr)
            raise typer.Exit(130) from None
        _tell(asked, as_json)


def _columns(table: "PaperTable", chosen: Sequence[str] | None) -> "tuple[Column, ...]":
    known = [column.title for column in table.columns]
    for name in chosen or ():
        if name not in known:
            raise VisionFlowError(f"{table.name} has no column {name!r}: choose of {', '.join(known)}")
    return tuple(column for column in table.columns if chosen is None or column.title in chosen)


def _check_needs(asked: "Reproduction") -> None:
    from visionflow.lmms.needs import hub_problem

    missing = [need.name for need in asked.needs() if not need.found]
    if missing and (problem := hub_problem()):
        _say_needs(asked)
        raise VisionFlowError(f"{', '.join(missing)} would have to be fetched, and {problem}: see the list above")


def _say_needs(asked: "Reproduction") -> None:
    from visionflow.report.reproduce import show_needs
    from visionflow.report.sheet import screen

    show_needs(asked.needs(), screen(stderr=True))


def _say_commands(asked: "Reproduction") -> None:
    variables = [f"{name}={value}" for name, value in asked.environment().items()]
    for line in asked.commands().values():
        print(shlex.join(["env", *variables, *line] if variables else line))


def _say_row(row: str, log: Path) -> None:
    print(f"running {row}, log in {log}", file=sys.stderr)


def _tell(done: "Reproduction", as_json: bool) -> None:
    from visionflow.lmms.comparison import compare
    from visionflow.report.reproduce import ReproduceReport
    from visionflow.report.sheet import screen

    report = ReproduceReport(done, compare(done))
    if as_json:
        print_json(report.to_json())
    else:
        report.show(screen())
