"""The options of the commands, each defined once: the same name, the same help and the same limits wherever it is.

Every value is read by a parser of `visionflow.cli.values`; defaults are shown by typer alone, in brackets after the
help, and in parentheses where they are worked out (`shown`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from visionflow.cli.values import Parser, one_of, place, some_of, whole, word

MOST_QUESTIONS = 1_000_000
MOST_AT_A_TIME = 10_000
MOST_LAYERS = 1000
MOST_TOKENS = 10_000_000
MOST_THREADS = 1024
MOST_MINUTES = 60 * 24 * 365
MOST_ROUNDS = 10_000
MOST_SEED = 2**32 - 1

SHAPE_NAMES = "llava-1b, llava-1.5-7b, llava-1.5-13b, qwen2.5-vl-7b"


def option(parser: Parser, metavar: str, help: str, *flags: str, shown: str = "") -> Any:
    """An option read by `parser`."""
    return typer.Option(*flags, parser=parser, metavar=metavar, help=help, show_default=shown or True)


def flag(name: str) -> str:
    """An option as it is typed."""
    return "--" + name.replace("_", "-")


Picture = Annotated[str, typer.Argument(metavar="IMAGE", help="A picture: a path, a URL, or - for standard input.")]
Question = Annotated[str, typer.Argument(metavar="QUESTION", help="The question, in quotes.")]
MorePictures = Annotated[
    list[str] | None,
    option(word, "IMAGE", "A further picture, for models that take several. Repeatable.", "--image"),
]
AnswerTokens = Annotated[int, option(whole(1, MOST_TOKENS), "N", "Length of the answers, at most.")]

MODEL_HELP = "a directory, owner/name on the Hub, or embedded, the small model of this package"

Model = Annotated[str, option(word, "MODEL", f"A saved model: {MODEL_HELP}.")]
Dtype = Annotated[
    str | None,
    option(
        one_of("dtype", "float32", "bfloat16", "float16", also=("fp32", "bf16", "fp16")),
        "DTYPE",
        "float32, bfloat16 or float16.",
        shown="the checkpoint's; float32 for the embedded model and, on a CPU, for shapes",
    ),
]
DEVICE_HELP = "cpu, cuda, cuda:1, mps, ..."
Device = Annotated[str | None, option(word, "DEVICE", DEVICE_HELP, shown="the GPU where there is one")]
Attention = Annotated[str, option(one_of("attention", "sdpa", "eager"), "NAME", "sdpa or eager.")]
Threads = Annotated[int | None, option(whole(1, MOST_THREADS), "N", "CPU threads.", shown="as many as torch likes")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Seed = Annotated[
    int, option(whole(0, MOST_SEED), "N", "Of all that is random, the bootstrap too: another seed, other draws.")
]

TASKS = ("choice", "science", "existence", "caption", "open", "pair", "turns")
SuiteName = Annotated[
    str,
    option(
        word,
        "SUITE",
        "What is asked: scenes (the generated world, unseen scenes), or FILE.parquet in the layout that "
        "visionflow scenes writes.",
    ),
]
Tasks = Annotated[
    Sequence[str] | None,
    option(some_of("task", *TASKS), "A,B", f"Some of {', '.join(TASKS)}.", shown="all there are"),
]
Limit = Annotated[
    int,
    option(whole(1, MOST_QUESTIONS), "N", "Number of questions in all, spread evenly over the tasks, at most."),
]
CostName = Annotated[
    str,
    option(
        one_of("cost", "flops", "paper", "gated"),
        "NAME",
        "What a budget is a share of: flops of the prefill (all prompt tokens and probes), paper or gated "
        "(multiply-adds of the image tokens alone, see visionflow flops).",
    ),
]
SightName = Annotated[
    str,
    option(
        one_of("sight", "picture", "grey", "none"),
        "SIGHT",
        "picture, grey or none: what the model sees, to check that the image matters.",
    ),
]
OnlyVisual = Annotated[
    bool, typer.Option("--filter", help="Leave out what dense answers rightly without the image (appendix B).")
]
Batch = Annotated[
    int,
    option(
        whole(1, MOST_AT_A_TIME),
        "N",
        "Questions at a time. Rounding depends on it: an answer may change, very rarely in float32, where two "
        "tokens are all but equally likely.",
    ),
]
Folder = Annotated[
    Path | None,
    option(place, "FOLDER", "Folder for the records; the same command goes on from what is there."),
]


def use_threads(threads: int | None) -> None:
    """Have torch compute with so many CPU threads, if a number is given."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
