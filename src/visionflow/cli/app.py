"""The command group, and the one place where errors become a line on standard error and exit code 2."""

import os
import sys

import typer

from visionflow.cli import ask, flops, train
from visionflow.errors import VisionFlowError

app = typer.Typer(
    help="See how a multimodal LLM uses its image tokens, and stop paying for the ones it does not use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("ask")(ask.ask)
app.command("flops")(flops.flops)
app.command("train")(train.train)


def main() -> None:
    """Run the command line; a `VisionFlowError` is printed as one line and ends the process with code 2."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except VisionFlowError as error:
        print(f"visionflow: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has left. Python flushes once more at exit: give that somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
