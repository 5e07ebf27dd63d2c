"""`visionflow look`: one page that shows what a model does with a picture."""

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visionflow.cli.method_options import method_option, named_method, with_options
from visionflow.cli.options import (
    MODEL_HELP,
    MOST_LAYERS,
    AnswerTokens,
    Attention,
    Device,
    Dtype,
    Json,
    Model,
    MorePictures,
    Question,
    Threads,
    option,
    use_threads,
)
from visionflow.cli.places import check_place, free_name
from visionflow.cli.values import place, whole, word
from visionflow.errors import VisionFlowError

if TYPE_CHECKING:
    from PIL.Image import Image

    from visionflow.loading.models import Loaded
    from visionflow.loading.videos import Video
    from visionflow.methods import Method, Spec
    from visionflow.report.look import LookReport

MOST_FRAMES = 10_000
USUAL_FRAMES = 16


def look(
    context: typer.Context,
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE",
            help="A picture (a path, a URL, or - for standard input) or a video (a file, or a folder of its frames).",
        ),
    ],
    question: Question,
    more_images: MorePictures = None,
    frames: Annotated[
        int | None,
        option(
            whole(1, MOST_FRAMES),
            "N",
            "Frames taken of a video, spread evenly.",
            shown=f"{USUAL_FRAMES}, or all where there are fewer",
        ),
    ] = None,
    model: Model = "embedded",
    against: Annotated[
        list[str] | None,
        option(word, "MODEL", f"A further model, shown beside the first: {MODEL_HELP}. Repeatable."),
    ] = None,
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

    The page is one file that needs no network. Answers are given dense and pruned, side by side; so are two models.
    """
    specs = [with_options(context, method), *(beside or ())]
    names = [model, *(against or ())]

    from visionflow.cli.output import print_json, quiet_libraries, working
    from visionflow.loading.pictures import stem_of

    page = out or free_name(f"{stem_of(image)}.look", ".html")
    _check_page(page)
    with working("reading what is asked"):
        for name in names:
            quiet_libraries(name)
        from visionflow.loading.prompts import check_question

        check_question(question)
        shown = _shown(image, more_images or [], frames)
        methods = [_methods(specs, name, names) for name in names]
    use_threads(threads)
    reports = []
    for name, of_model in zip(names, methods, strict=True):
        with working(f"loading the {name} model") as said:
            from visionflow.loading.models import load_model

            loaded = load_model(name, dtype, device, attention)
            reports.append(_look_into(loaded, shown, question, of_model, max_new_tokens, blocks, said))
            del loaded  # one model at a time has to fit
    from visionflow.report.look import LookReport

    report = reduce(LookReport.against, reports)
    report.save(page)
    if as_json:
        print_json({"page": str(page), **report.to_json()})
    else:
        from visionflow.report.sheet import screen

        report.show(screen())
        print(f"\nThe page is in {page}: open it in a browser")


def _shown(image: str, more: list[str], frames: int | None) -> "list[Image] | Video":
    """What is asked about: one picture or several, or a video.

    Raises:
        VisionFlowError: it cannot be read, or what was said suits only the other of the two.
    """
    from visionflow.loading.pictures import read_picture
    from visionflow.loading.videos import is_video, read_video

    if not is_video(image):
        if frames is not None:
            raise VisionFlowError(f"--frames is for a video, and {image} is a picture: leave --frames out")
        return [read_picture(source) for source in (image, *more)]
    if more:
        raise VisionFlowError(f"{image} is a video, which is asked about alone: leave --image out")
    return read_video(image, frames or USUAL_FRAMES)


def _methods(specs: "list[Spec]", name: str, names: list[str]) -> "list[Method]":
    """The methods for the model called `name`, by its configuration alone: what fits none is refused at once."""
    from visionflow.engines.hf.layer_kinds import depth_of
    from visionflow.loading.models import load_config

    try:
        config = load_config(name)
        return [spec.of(depth_of(config), name, config.model_type) for spec in specs]
    except VisionFlowError as error:
        if len(names) == 1 or name in str(error):
            raise
        raise type(error)(f"for the model {name}: {error}") from None


def _look_into(
    loaded: "Loaded",
    shown: "list[Image] | Video",
    question: str,
    methods: "list[Method]",
    max_new_tokens: int,
    blocks: int,
    step: Callable[[str], None],
) -> "LookReport":
    from visionflow.loading.prompts import make_prompt, make_video_prompt
    from visionflow.loading.videos import Video
    from visionflow.report.look import look as look_inside

    model, processor, _ = loaded
    if isinstance(shown, Video):
        inputs = make_video_prompt(model, processor, shown, question, max_new_tokens)
    else:
        inputs = make_prompt(model, processor, shown, question, max_new_tokens)
    return look_inside(
        model,
        inputs,
        methods,
        processor=processor,
        pictures=shown.frames if isinstance(shown, Video) else shown,
        question=question,
        max_new_tokens=max_new_tokens,
        blocks=blocks,
        name=loaded.name,
        step=step,
    )


def _check_page(page: Path) -> None:
    """Refuse, before any work, a place where the page cannot go."""
    if page.suffix.lower() not in (".html", ".htm"):
        raise VisionFlowError(f"--out {page} must end in .html")
    check_place(page, "the page")
