"""The command group, and the one place where errors become a line on standard error and exit code 2."""

import os
import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

from visionflow import __version__
from visionflow.cli import ask, bench, disrupt, flops, lens, saliency, scaling, scenes, train
from visionflow.cli.eval import evaluate
from visionflow.cli.reproduce import reproduce
from visionflow.errors import VisionFlowError

COMMANDS: dict[str, Callable[..., None]] = {
    "ask": ask.ask,
    "eval": evaluate,
    "reproduce": reproduce,
    "flops": flops.flops,
    "lens": lens.lens,
    "saliency": saliency.saliency,
    "disrupt": disrupt.disrupt,
    "bench": bench.bench,
    "scaling": scaling.scaling,
    "scenes": scenes.scenes,
    "train": train.train,
}

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, command in COMMANDS.items():
    # The whole first paragraph in the list of commands: typer would cut it off after one line.
    app.command(name, short_help=" ".join((command.__doc__ or "").partition("\n\n")[0].split()))(command)


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"visionflow {__version__}")
        raise typer.Exit


@app.callback()
def _group(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """See how a multimodal LLM uses its image tokens, and stop paying for the ones it does not use."""


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
