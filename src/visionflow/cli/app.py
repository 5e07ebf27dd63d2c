"""The command group, and the one place where errors become a line on standard error and exit code 2."""

import os
import sys
from typing import Any, NoReturn

import typer

from visionflow.cli import ask, bench, disrupt, flops, lens, saliency, scaling, scenes, train
from visionflow.cli.eval import evaluate
from visionflow.cli.reproduce import reproduce
from visionflow.errors import VisionFlowError

app = typer.Typer(
    help="See how a multimodal LLM uses its image tokens, and stop paying for the ones it does not use.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("ask")(ask.ask)
app.command("eval")(evaluate)
app.command("reproduce")(reproduce)
app.command("flops")(flops.flops)
app.command("lens")(lens.lens)
app.command("saliency")(saliency.saliency)
app.command("disrupt")(disrupt.disrupt)
app.command("bench")(bench.bench)
app.command("scaling")(scaling.scaling)
app.command("scenes")(scenes.scenes)
app.command("train")(train.train)


# typer brings its own copy of click along; the parent of this error is what every misuse of an option is.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]


def main() -> None:
    """Run the command line; wrong input is told in one line and ends the process with code 2."""
    try:
        try:
            code = app(args=sys.argv[1:] or ["--help"], prog_name="visionflow", standalone_mode=False)
        finally:
            sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except VisionFlowError as error:
        _refuse(str(error))
    except UsageError as error:
        _refuse(_told(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has left. Python flushes once more at exit: give that somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _refuse(message: str) -> NoReturn:
    print(f"visionflow: {message}", file=sys.stderr)
    sys.exit(2)


def _told(error: Any) -> str:
    """One line of a usage error: what is wrong, and where help is."""
    message = " ".join(error.format_message().split()).rstrip(".")
    command = error.ctx.command_path if error.ctx else "visionflow"
    return f"{message}; see {command} --help"
