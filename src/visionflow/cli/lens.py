"""`visionflow lens`: inside one answer, what each layer would say and where it looks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visionflow.cli.folders import check_out
from visionflow.cli.options import Attention, Device, Dtype, Json, Model, Threads, option, use_threads
from visionflow.cli.values import place
from visionflow.errors import VisionFlowError

if TYPE_CHECKING:
    from PIL import Image

DEMO_PICTURE, DEMO_QUESTION = "the demo's picture", "How many red objects are there?"


def lens(
    image: Annotated[
        str | None,
        typer.Argument(
            metavar="IMAGE", help="A picture: a path, a URL, or - for standard input.", show_default="a demo"
        ),
    ] = None,
    question: Annotated[
        str | None, typer.Argument(metavar="QUESTION", help="The question, in quotes; needed with IMAGE.")
    ] = None,
    model: Model = "embedded",
    heads: Annotated[
        bool, typer.Option("--heads", help="Also what the value of each head alone would say (value-output lens).")
    ] = False,
    out: Annotated[
        Path | None,
        option(
            place,
            "FOLDER",
            "Folder for the figures attention.png, sinks.png and lens.png, which are replaced there.",
        ),
    ] = None,
    dtype: Dtype = None,
    device: Device = None,
    attention: Attention = "sdpa",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Inside one answer: what the model would say after each layer, where it looks, which patches are sinks.

    All is read at the last prompt token, which chooses the first word of the answer.
    """
    if image is not None and question is None:
        raise VisionFlowError(f'ask something about {image}: visionflow lens {image} "question"')
    if out is not None:
        _check_figures(out, image)

    from visionflow.cli.output import print_json, quiet_libraries, working
    from visionflow.loading.pictures import read_picture
    from visionflow.report.sheet import screen

    picture = _demo_picture() if image is None else read_picture(image)
    asked = DEMO_QUESTION if question is None else question
    with working(f"loading the {model} model"):
        quiet_libraries(model)
        from visionflow.loading.models import load_model
        from visionflow.loading.prompts import check_question, make_prompt
        from visionflow.report.figures import scene_or_reason
        from visionflow.report.lens import lens_report

        check_question(asked)
        use_threads(threads)
        loaded = load_model(model, dtype, device, attention)
    inputs = make_prompt(loaded.model, loaded.processor, [picture], asked)
    scene, undrawn = scene_or_reason(loaded.model, loaded.processor, [picture], inputs)
    with working("reading the layers"):
        report = lens_report(loaded, inputs, image or DEMO_PICTURE, asked, heads)
        figures = report.draw(scene, out) if out else []
    if as_json:
        print_json(report.to_json() | {"figures": [str(path) for path in figures], "undrawn": undrawn})
    else:
        report.show(screen())
        if figures:
            print(f"\nfigures: {', '.join(map(str, figures))}")
            print(f"attention.png not drawn: {undrawn}\n" * bool(undrawn), end="")


def _demo_picture() -> "Image.Image":
    from visionflow.scenes import draw, example_scene

    return draw(example_scene(), scale=2)


def _check_figures(out: Path, image: str | None) -> None:
    """Refuse, before any work, a folder where the figures cannot go or where the picture would be lost."""
    from visionflow.report.figures.lens import FIGURES
    from visionflow.report.figures.plotting import check_matplotlib

    check_matplotlib()
    check_out(out)
    for name in FIGURES:
        if image is not None and _is_same_file(out / name, image):
            raise VisionFlowError(f"{out / name} is the picture itself, and would be replaced: choose another --out")


def _is_same_file(figure: Path, image: str) -> bool:
    return figure.exists() and Path(image).exists() and figure.samefile(image)
