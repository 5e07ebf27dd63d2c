"""The command group, and the one place where errors become a line on standard error and exit code 2."""

import sys

import typer

from visionflow.cli import flops
from visionflow.errors import VisionFlowError

app = typer.Typer(
    help="See how a multimodal LLM uses its image tokens, and stop paying for the ones it does not use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("flops")(flops.flops)


def main() -> None:
    """Run the command line; a `VisionFlowError` is printed as one line and ends the process with code 2."""
    try:
        app()
    except VisionFlowError as error:
        print(f"visionflow: {error}", file=sys.stderr)
        sys.exit(2)
