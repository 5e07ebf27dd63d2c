"""Options that several commands share; each command says what it takes where one is not given."""

from pathlib import Path
from typing import Annotated

import typer

from visionflow.errors import VisionFlowError

Model = Annotated[
    str | None,
    typer.Option(help="A directory with a saved model, or owner/name on the Hub. [default: the embedded model]"),
]
Dtype = Annotated[
    str | None,
    typer.Option(help="float32, bfloat16 or float16. [default: the checkpoint's; float32 for the embedded model]"),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ... [default: the GPU where there is one]")]
Attention = Annotated[str, typer.Option(help="sdpa or eager.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; torch decides if not given.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]

SuiteName = Annotated[
    str,
    typer.Option(
        help="What is asked: scenes (the generated world, unseen scenes), or FILE.parquet in the layout that "
        "visionflow scenes writes."
    ),
]
Tasks = Annotated[
    str, typer.Option(metavar="A,B", help="Some of choice, science, existence, caption, open. [default: all]")
]
Limit = Annotated[int, typer.Option(min=1, help="Number of questions in all, spread evenly over the tasks, at most.")]
SightName = Annotated[
    str, typer.Option(help="picture, grey or none: what the model sees, to check that the image matters.")
]
OnlyVisual = Annotated[
    bool, typer.Option("--filter", help="Leave out what dense answers rightly without the image (appendix B).")
]
Seed = Annotated[
    int, typer.Option(min=0, max=2**32 - 1, help="Of all that is random, the bootstrap too: another seed, other draws.")
]
Batch = Annotated[
    int,
    typer.Option(
        min=1,
        help="Questions at a time. Rounding depends on it: an answer may change, very rarely in float32, where two "
        "tokens are all but equally likely.",
    ),
]
Folder = Annotated[
    Path | None, typer.Option(help="Folder for the records; the same command goes on from what is there.")
]


def listed(names: str) -> list[str]:
    """The names in `A,B`."""
    return [name.strip() for name in names.split(",") if name.strip()]


def use_threads(threads: int | None) -> None:
    """Have torch compute with so many CPU threads, if a number is given.

    Raises:
        VisionFlowError: the number is below 1.
    """
    if threads is None:
        return
    if threads < 1:
        raise VisionFlowError(f"--threads must be at least 1, not {threads}")
    import torch

    torch.set_num_threads(threads)
