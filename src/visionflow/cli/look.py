"""`visionflow look`: one page that shows what a model does with a picture."""

from pathlib import Path
from typing import Annotated, Any

import typer

from visionflow.cli.method_options import method_option, named_method, with_options
from visionflow.cli.options import (
    MOST_LAYERS,
    AnswerTokens,
    Attention,
    Device,
    Dtype,
    Json,
    Model,
    MorePictures,
    Picture,
    Question,
    Threads,
    option,
    use_threads,
)
from visionflow.cli.places import check_place, free_name
from visionflow.cli.values import place, whole
from visionflow.errors import VisionFlowError


def look(
    context: typer.Context,
    image: Picture,
    question: Question,
    more_images: MorePictures = None,
    model: Model = "embedded",
    method: Annotated[Any, method_option()] = "himap",
    beside: Annotated[
        list[Any] | None, option(named_method, "METHOD", "A further method, shown beside the first. Repeatable.")
    ] = None,
    max_new_tokens: AnswerTokens = 64,
    blocks: Annotated[
        int,
        option(
            whole(0, MOST_LAYERS),
            "N",
            "Blocks of layers at whose bounds flows are knocked out: 2 N (N + 1) prefills; 0 leaves that out.",
        ),
    ] = 4,
    dtype: Dtype = None,
    device: Device = None,
    attention: Attention = "sdpa",
    threads: Threads = None,
    out: Annotated[
        Path | None,
        option(
            place,
            "FILE",
            "Where the page goes; a file that is there is replaced.",
            "--out",
            "-o",
            shown="NAME.look.html in the current folder, or NAME.look-2.html, -3, ... where that is there",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """One page that shows what a model does with a picture: what stays, what each answer token reads, what it costs.

    The page is one file that needs no network. Answers are given dense and pruned, side by side.
    """
    spec = with_options(context, method)

    from visionflow.cli.output import print_json, quiet_libraries, working
    from visionflow.loading.pictures import read_picture, stem_of

    page = out or free_name(f"{stem_of(image)}.look", ".html")
    _check_page(page)
    pictures = [read_picture(source) for source in (image, *(more_images or []))]
    with working(f"loading the {model} model"):
        quiet_libraries(model)
        from visionflow.engines.hf.layer_kinds import depth_of
        from visionflow.loading.models import load_model
        from visionflow.loading.prompts import check_question
        from visionflow.report.look import look as look_inside

        check_question(question)
        use_threads(threads)
        specs = [spec, *(beside or ())]
        loaded = load_model(model, dtype, device, attention)
    depth = depth_of(loaded.model.config)
    methods = [each.of(depth, loaded.name, loaded.model.config.model_type) for each in specs]
    with working("answering") as said:
        report = look_inside(
            loaded.model,
            method=methods,
            processor=loaded.processor,
            pictures=pictures,
            question=question,
            max_new_tokens=max_new_tokens,
            blocks=blocks,
            name=loaded.name,
            step=said,
        )
    report.save(page)
    if as_json:
        print_json({"page": str(page), **report.to_json()})
    else:
        from visionflow.report.sheet import screen

        report.show(screen())
        print(f"\nThe page is in {page}: open it in a browser")


def _check_page(page: Path) -> None:
    """Refuse, before any work, a place where the page cannot go."""
    if page.suffix.lower() not in (".html", ".htm"):
        raise VisionFlowError(f"--out {page} must end in .html")
    check_place(page, "the page")
