"""`visionflow ask`: a question about a picture, answered dense and pruned, side by side."""

from pathlib import Path
from typing import Annotated

import typer

from visionflow.cli.methods import METHOD_OPTIONS, chosen_method, own_options
from visionflow.cli.options import Attention, Device, Dtype, Json, Model
from visionflow.errors import VisionFlowError

HIMAP_DEFAULT = "[default: {}; earlier in models of 8 layers or fewer]"


def ask(
    context: typer.Context,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A picture: a path, a URL, or - for standard input.")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The question, in quotes.")],
    more_images: Annotated[
        list[str] | None,
        typer.Option("--image", metavar="<str>", help="A further picture, for models that take several. Repeatable."),
    ] = None,
    model: Model = None,
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHOD_OPTIONS)}.")] = "himap",
    k1: Annotated[
        int | None, typer.Option(help=f"himap: layers before the first cut. {HIMAP_DEFAULT.format(2)}")
    ] = None,
    r1: Annotated[float | None, typer.Option(help="himap: fraction dropped at the first cut. [default: 0.5]")] = None,
    k2: Annotated[
        int | None, typer.Option(help=f"himap: layers before the second cut. {HIMAP_DEFAULT.format(8)}")
    ] = None,
    r2: Annotated[
        float | None, typer.Option(help="himap: fraction of the rest dropped at the second cut. [default: 0.75]")
    ] = None,
    deep_criterion: Annotated[
        str | None,
        typer.Option(help="himap: second cut by what a token has 'paid' or 'received'. [default: paid]"),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(help="fastv, random, vtw: layers before the cut. [default: 2; half of the layers for vtw]"),
    ] = None,
    r: Annotated[float | None, typer.Option(help="fastv, random: fraction dropped. [default: 0.5]")] = None,
    shallow_layers: Annotated[
        int | None,
        typer.Option(
            help="visipruner: layers that do not read the image. [default: 6; 1 in models of 8 layers or fewer]"
        ),
    ] = None,
    layer_threshold: Annotated[
        float | None,
        typer.Option(
            help="visipruner: a layer fires when leaving out one token turns what the prompt's end reads to a cosine "
            "below this. [default: 0.995; 0.964 in models of 8 layers or fewer]",
        ),
    ] = None,
    token_threshold: Annotated[
        float | None,
        typer.Option(
            help="visipruner: tokens that add more than this stay. [default: 0.2; 0.008 in models of 8 layers or fewer]"
        ),
    ] = None,
    token_scale: Annotated[
        str | None,
        typer.Option(
            help="visipruner: --token-threshold is 'absolute', or 'relative' to all that is read. "
            "[default: absolute; relative in models of 8 layers or fewer]"
        ),
    ] = None,
    exit_threshold: Annotated[
        float | None, typer.Option(help="visipruner: a kept token still matters below this cosine. [default: 0.999]")
    ] = None,
    exit_patience: Annotated[
        int | None, typer.Option(help="visipruner: layers without a token that matters before all go. [default: 2]")
    ] = None,
    at_most: Annotated[int | None, typer.Option(help="visipruner: tokens kept, at most. [default: no limit]")] = None,
    fallback_layer: Annotated[
        int | None,
        typer.Option(help="visipruner: fires here at the latest. [default: none, so a prompt may keep all its tokens]"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**32 - 1, help="random: another seed, another draw. [default: 0]")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of the answers, at most.")] = 64,
    dtype: Dtype = None,
    device: Device = None,
    attention: Attention = "sdpa",
    out: Annotated[
        Path | None, typer.Option(help="Where the overlay goes. [default: NAME.kept.png in the current folder]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Answer a question about a picture, dense and pruned side by side, and draw what was kept."""
    options = {name for own in METHOD_OPTIONS.values() for name in own}
    given = {name: value for name, value in context.params.items() if name in options and value is not None}
    own_options(method, given, METHOD_OPTIONS)

    from rich.console import Console

    from visionflow.cli.output import print_json, quiet_libraries, working
    from visionflow.loading.pictures import read_picture, stem_of

    sources = [image, *(more_images or [])]
    overlay = out or Path(f"{stem_of(image)}.kept.png")
    _check_out(overlay, sources)
    pictures = [read_picture(source) for source in sources]

    with working(f"loading the {model or 'embedded'} model"):
        quiet_libraries(model)
        from visionflow.cli.ask_report import AskReport
        from visionflow.comparison import compare
        from visionflow.loading.models import load_model
        from visionflow.loading.prompts import check_question, make_prompt
        from visionflow.runtime.families import family_of
        from visionflow.viz import scene_or_reason

        check_question(question)
        loaded = load_model(model, dtype, device, attention)
    depth = len(family_of(loaded.model).layers_of(loaded.model))
    chosen = chosen_method(method, given, depth)
    inputs = make_prompt(loaded.model, loaded.processor, pictures, question, max_new_tokens)
    scene, undrawn = scene_or_reason(loaded.model, loaded.processor, pictures, inputs)
    with working("answering, dense and pruned"):
        comparison = compare(loaded.model, loaded.processor, inputs, chosen, max_new_tokens)

    try:
        if scene is not None:
            scene.overlay(comparison.trace, str(chosen)).save(overlay)
    except OSError as error:
        raise VisionFlowError(f"cannot write {overlay}: {error.strerror or error}; choose another --out") from error
    report = AskReport(
        images=sources,
        question=question,
        model=loaded.name,
        dtype=str(loaded.model.dtype).removeprefix("torch."),
        device=str(loaded.model.device),
        method=str(chosen),
        note="" if given else f", the default for {depth} layers",
        comparison=comparison,
        patches=scene.kept(comparison.trace) if scene else None,
        overlay=overlay if scene else None,
        undrawn=undrawn,
    )
    if as_json:
        print_json(report.to_json())
    else:
        report.show(Console(markup=False, highlight=False))


def _check_out(out: Path, sources: list[str]) -> None:
    """Refuse, before any work, a place where the overlay cannot go or where a picture would be lost."""
    import os

    from PIL import Image

    known = Image.registered_extensions()
    if known.get(out.suffix.lower()) not in ("PNG", "JPEG", "WEBP", "BMP", "TIFF"):
        raise VisionFlowError(f"--out {out} must end in .png, .jpg, .webp, .bmp or .tif")
    try:
        is_directory, has_parent = out.is_dir(), out.parent.is_dir()
        place = out if out.exists() else out.parent
    except (OSError, ValueError) as error:  # a name that is too long, a null character
        raise VisionFlowError(f"--out {out} is no valid path: choose another name") from error
    if is_directory:
        raise VisionFlowError(f"--out {out} is a directory: add a file name")
    if not has_parent:
        raise VisionFlowError(f"there is no directory {out.parent} for the overlay: make it, or choose another --out")
    if not os.access(place, os.W_OK):
        raise VisionFlowError(f"cannot write {out}: no permission; choose another --out")
    if any(_is_same_file(out, source) for source in sources):
        raise VisionFlowError(f"--out {out} is the picture itself: choose another name")


def _is_same_file(out: Path, source: str) -> bool:
    try:
        return out.samefile(source)
    except (OSError, ValueError):  # one of them is not a file that is there
        return False
