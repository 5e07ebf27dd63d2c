"""`visionflow ask`: a question about a picture, answered dense and pruned, side by side."""

from pathlib import Path
from typing import Annotated, Any

import typer

from visionflow.cli.method_options import method_option, with_options
from visionflow.cli.options import (
    AnswerTokens,
    Attention,
    Device,
    Dtype,
    Json,
    Model,
    MorePictures,
    Picture,
    Question,
    option,
)
from visionflow.cli.places import check_place, free_name
from visionflow.cli.values import place
from visionflow.errors import VisionFlowError


def ask(
    context: typer.Context,
    image: Picture,
    question: Question,
    more_images: MorePictures = None,
    model: Model = "embedded",
    method: Annotated[Any, method_option()] = "himap",
    max_new_tokens: AnswerTokens = 64,
    dtype: Dtype = None,
    device: Device = None,
    attention: Attention = "sdpa",
    out: Annotated[
        Path | None,
        option(
            place,
            "FILE",
            "Where the overlay goes; a file that is there is replaced.",
            shown="NAME.kept.png in the current folder, or NAME.kept-2.png, -3, ... where that is there",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Answer a question about a picture, dense and pruned side by side, and draw what was kept."""
    spec = with_options(context, method)

    from visionflow.cli.output import print_json, quiet_libraries, working
    from visionflow.loading.pictures import read_picture, stem_of
    from visionflow.report.sheet import screen

    sources = [image, *(more_images or [])]
    overlay = out or free_name(f"{stem_of(image)}.kept", ".png")
    _check_out(overlay, sources)
    pictures = [read_picture(source) for source in sources]

    with working(f"loading the {model} model"):
        quiet_libraries(model)
        from visionflow.answering import compare
        from visionflow.engines.hf.families import family_of
        from visionflow.engines.hf.layer_kinds import depth_of
        from visionflow.loading.models import load_model
        from visionflow.loading.prompts import check_question, make_prompt
        from visionflow.report.ask import AskReport
        from visionflow.report.figures import scene_or_reason

        check_question(question)
        loaded = load_model(model, dtype, device, attention)
    family_of(loaded.model)  # refuses what cannot be pruned
    depth = depth_of(loaded.model.config)
    chosen = spec.of(depth, loaded.name, loaded.model.config.model_type)
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
        note="" if spec.settings else f", {chosen.whose_defaults(depth, loaded.name)}",
        comparison=comparison,
        patches=scene.kept(comparison.trace) if scene else None,
        overlay=overlay if scene else None,
        undrawn=undrawn,
    )
    if as_json:
        print_json(report.to_json())
    else:
        report.show(screen())


def _check_out(out: Path, sources: list[str]) -> None:
    """Refuse, before any work, a place where the overlay cannot go or where a picture would be lost."""
    from PIL import Image

    known = Image.registered_extensions()
    if known.get(out.suffix.lower()) not in ("PNG", "JPEG", "WEBP", "BMP", "TIFF"):
        raise VisionFlowError(f"--out {out} must end in .png, .jpg, .webp, .bmp or .tif")
    check_place(out, "the overlay")
    if any(_is_same_file(out, source) for source in sources):
        raise VisionFlowError(f"--out {out} is the picture itself: choose another name")


def _is_same_file(out: Path, source: str) -> bool:
    try:
        return out.samefile(source)
    except (OSError, ValueError):  # one of them is not a file that is there
        return False
