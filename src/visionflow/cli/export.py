"""`visionflow export`: a model as a checkpoint for another engine."""

from pathlib import Path
from typing import Annotated

import typer

from visionflow.cli.options import MODEL_HELP, Dtype, option
from visionflow.cli.values import one_of, place, word
from visionflow.errors import VisionFlowError


def export(
    model: Annotated[str, typer.Argument(parser=word, metavar="MODEL", help=f"A saved model: {MODEL_HELP}.")],
    out: Annotated[Path, option(place, "FOLDER", "Where it goes: a folder that is not there, or is empty.")],
    engine: Annotated[str, option(one_of("engine", "vllm"), "ENGINE", "Who is to load it: vllm.", "--for")] = "vllm",
    dtype: Dtype = None,
) -> None:
    """Write a model in a form that vLLM loads: exact, with other names and, where it must be, wider heads."""
    from visionflow.cli.output import quiet_libraries, working
    from visionflow.loading.models import load_model
    from visionflow.serving.export import export as write

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise VisionFlowError(f"--out {out} is there and is not an empty folder: choose another")
    quiet_libraries(model)
    with working("writing"):
        loaded = load_model(model, dtype, "cpu")
        write(loaded.model, loaded.processor, out)
    print(f"{out}: {loaded.name} for {engine}")
