"""`visionflow serve`: vLLM's server with a method in it, proved to prune before it is left alone."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from visionflow.cli.method_options import method_option, with_options
from visionflow.cli.options import MODEL_HELP, option
from visionflow.cli.values import number, word


def serve(
    context: typer.Context,
    model: Annotated[str, typer.Argument(parser=word, metavar="MODEL", help=f"As vLLM takes it: {MODEL_HELP}.")],
    method: Annotated[Any, method_option()] = "himap",
    report: Annotated[bool, typer.Option("--report", help="Say in each response what was done.")] = False,
    shadow: Annotated[
        float,
        option(
            number(0, 1),
            "X",
            "Answer this share of the pruned requests dense, too; agreement is counted.",
        ),
    ] = 0.0,
    shrink_kv: Annotated[
        bool, typer.Option("--shrink-kv", help="Hold no blocks of the KV cache for what was dropped.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Send one picture, and stop where it is not pruned.")
    ] = True,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="-- ARGUMENTS", help="All else is vLLM's, as in -- --port 8080.")
    ] = None,
) -> None:
    """Serve a model with vLLM, image tokens pruned inside it.

    A request says {"vllm_xargs": {"visionflow": "off"}} to be served dense, or other values of the method's settings.
    """
    spec = with_options(context, method)

    from visionflow.cli.output import quiet_libraries
    from visionflow.loading.models import load_config
    from visionflow.report.serve import Announcement
    from visionflow.report.sheet import screen
    from visionflow.serving import launch, versions

    versions.check_version()
    versions.check_plugin()
    rest = list(arguments or ())
    quiet_libraries(model)
    announcement = Announcement.of(model, load_config(model), spec)
    announcement.show(screen(stderr=True))
    settings = {
        "method": announcement.settings.method.to_dict(),
        "report": report,
        "shadow": shadow,
        "shrink_kv": shrink_kv,
    }
    with _for_vllm(model) as place:
        called = launch.command(place, settings, rest)
        answers = "--headless" not in rest  # or else another machine does
        code = launch.serve(called, launch.Address.of(rest), _say, check=check and answers)
    raise typer.Exit(code)


def _say(told: str) -> None:
    print(f"visionflow: {told}", file=sys.stderr)


@contextmanager
def _for_vllm(model: str) -> Iterator[str]:
    """The model as vLLM finds it; the one of this package is exported for as long as it is served."""
    if model != "embedded":
        yield model
        return
    from visionflow.loading.models import load_model
    from visionflow.serving.export import export

    with TemporaryDirectory(prefix="visionflow-embedded-") as folder:
        loaded = load_model(model, device="cpu")
        export(loaded.model, loaded.processor, Path(folder))
        yield folder
