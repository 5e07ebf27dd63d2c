"""`visionflow scenes`: items of the generated world as a parquet file."""

from pathlib import Path
from typing import Annotated

import typer

from visionflow.cli.options import MOST_QUESTIONS, TASKS, option
from visionflow.cli.values import one_of, place, whole


def scenes(
    out: Annotated[Path, option(place, "FILE", "The parquet file to write.")],
    task: Annotated[
        str | None,
        option(
            one_of("task", *TASKS),
            "TASK",
            f"One of {', '.join(TASKS)}: in pair there are two pictures, in turns earlier questions.",
            shown="all of them",
        ),
    ] = None,
    split: Annotated[
        str, option(one_of("split", "train", "validation", "test"), "SPLIT", "train, validation or test.")
    ] = "test",
    limit: Annotated[int, option(whole(1, MOST_QUESTIONS), "N", "Items of each task.")] = 200,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Export pictures, questions and answers of the generated world for Hugging Face datasets.

    datasets.load_dataset("parquet", data_files=OUT) reads the file.
    """
    from itertools import chain
    from typing import cast

    from rich.console import Console
    from rich.progress import track

    from visionflow.scenes import EVERY_TASK, Split
    from visionflow.scenes.export import check_export, export, rows_of

    tasks = EVERY_TASK if task is None else [task]
    check_export(out, tasks, split, limit, force)
    rows = chain.from_iterable(rows_of(each, cast(Split, split), limit) for each in tasks)
    total = len(tasks) * limit
    export(track(rows, "drawing", total, console=Console(stderr=True)), out)
    print(f"{out}: {total} items")
