"""The command group, and the one place where errors become a line on standard error and exit code 2."""

import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from visionflow import __version__
from visionflow.cli import (
    ask,
    bench,
    disrupt,
    export,
    flops,
    lens,
    look,
    saliency,
    scaling,
    scenes,
    serve,
    train,
    web_app,
)
from visionflow.cli.eval import evaluate
from visionflow.cli.frontier import frontier
from visionflow.cli.method_options import MethodCommand
from visionflow.cli.reproduce import reproduce
from visionflow.cli.streams import OutputError, output, remarks
from visionflow.cli.tune import tune
from visionflow.errors import VisionFlowError
from visionflow.methods.registry import PlugInWarning

TRACEBACK = "VISIONFLOW_TRACEBACK"
"""The variable that has the traceback of every error printed, of refusals too."""

COMMANDS: dict[str, Callable[..., None]] = {
    "ask": ask.ask,
    "look": look.look,
    "app": web_app.app,
    "eval": evaluate,
    "tune": tune,
    "frontier": frontier,
    "reproduce": reproduce,
    "flops": flops.flops,
    "lens": lens.lens,
    "saliency": saliency.saliency,
    "disrupt": disrupt.disrupt,
    "bench": bench.bench,
    "scaling": scaling.scaling,
    "serve": serve.serve,
    "export": export.export,
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
    sentence = " ".join((command.__doc__ or "").partition("\n\n")[0].split())
    app.command(name, short_help=sentence, cls=MethodCommand)(command)


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
    """Run the command line; what goes wrong is told in one line: wrong input with code 2, the unexpected with 1."""
    if "" not in sys.path:
        sys.path.append("")  # package.module:Class may be in the folder that the command is called from
    with remarks(), _plug_ins_told_of():
        sys.exit(_run(sys.argv[1:] or ["--help"]))


@contextmanager
def _plug_ins_told_of() -> Iterator[None]:
    """A plug-in that is left out takes one line, without the place in our sources."""
    usual = warnings.formatwarning

    def told(message: Warning | str, category: type[Warning], *where: Any) -> str:
        return f"visionflow: {message}\n" if category is PlugInWarning else usual(message, category, *where)

    warnings.formatwarning = told  # type: ignore[assignment]
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _run(arguments: list[str]) -> int:
    """The exit code."""
    try:
        with output():
            code = app(args=arguments, prog_name="visionflow", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        return _refusal(error)


def _refusal(error: Exception) -> int:
    """Say what went wrong, in one line; the exit code."""
    if isinstance(error, OutputError) and error.reader_left:  # `| head` has what it wants
        return 0
    if isinstance(error, VisionFlowError):
        return _say(str(error), 2)
    if isinstance(error, UsageError):
        return _say(_told(error), 2)
    if isinstance(error, OutputError):
        return _say(f"cannot write to standard output ({error}): make room, or send it elsewhere", 2)
    what = ": ".join([type(error).__name__, " ".join(str(error).split())]).removesuffix(": ")
    return _say(f"unexpected {what}; to report it, run again with {TRACEBACK}=1, which shows the traceback", 1)


def _say(message: str, code: int) -> int:
    print(f"visionflow: {message}", file=sys.stderr)
    return code


def _told(error: Any) -> str:
    """One line of a usage error: what is wrong, and where help is."""
    message = " ".join(error.format_message().split()).rstrip(".")
    command = error.ctx.command_path if error.ctx else "visionflow"
    return f"{message}; see {command} --help"
