"""`visionflow flops`: what a prompt costs dense and pruned, for any model shape, without weights."""

import logging
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from visionflow.cli.method_options import check_options, method_option, typed_options, with_options
from visionflow.cli.options import MODEL_HELP, MOST_LAYERS, MOST_TOKENS, SHAPE_NAMES, Json, flag, option
from visionflow.cli.output import print_json
from visionflow.cli.values import one_of, whole, word
from visionflow.errors import VisionFlowError

if TYPE_CHECKING:
    from visionflow.cost.model import Course
    from visionflow.methods import Spec

NONE = "none"
PROFILE = ("fire_layer", "kept", "exit_layer")
"""visipruner decides by what it sees: these are the numbers of one course, by default the means of its paper."""

_DEPTH = "in a model of 32 layers; earlier in shallower ones"


def flops(
    context: typer.Context,
    model: Annotated[
        str,
        option(word, "MODEL", f"A shape: {SHAPE_NAMES}; a config.json; or a saved model: {MODEL_HELP}."),
    ] = "llava-1.5-7b",
    method: Annotated[Any, method_option(NONE)] = "himap",
    fire_layer: Annotated[
        int | None,
        option(whole(0, MOST_LAYERS), "N", "visipruner: last layer with all image tokens.", shown=f"14 {_DEPTH}"),
    ] = None,
    kept: Annotated[
        int | None, option(whole(1, MOST_TOKENS), "N", "visipruner: image tokens kept after it.", shown="10")
    ] = None,
    exit_layer: Annotated[
        int | None,
        option(whole(1, MOST_LAYERS), "N", "visipruner: first layer without image tokens.", shown=f"24 {_DEPTH}"),
    ] = None,
    image_tokens: Annotated[
        int | None,
        option(whole(0, MOST_TOKENS), "N", "Image tokens of the prompt.", shown="one picture of the model"),
    ] = None,
    text_tokens: Annotated[
        int, option(whole(0, MOST_TOKENS), "N", "All other tokens of the prompt, template included.")
    ] = 60,
    instruction_tokens: Annotated[
        int | None,
        option(whole(0, MOST_TOKENS), "N", "Text tokens after the image, for himap's probe.", shown="all text tokens"),
    ] = None,
    convention: Annotated[
        str | None,
        option(
            one_of("convention", "paper", "gated", "flops"),
            "NAME",
            "paper, gated or flops: what is counted.",
            shown="all three; paper with --json",
        ),
    ] = None,
    logits: Annotated[
        str,
        option(
            one_of("logits", "last", "all"),
            "NAME",
            "flops only: logits of the 'last' token, as in generate, or of 'all' tokens.",
        ),
    ] = "last",
    dtype_bytes: Annotated[int, option(whole(1, 16), "N", "Bytes per number in the KV cache.")] = 2,
    table: Annotated[
        str | None,
        option(
            one_of("table", "himap"),
            "NAME",
            "himap: print the cost columns of that paper's Tables 1 and 2 beside ours.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """What a prompt costs, dense and pruned: operations, image tokens per layer, KV cache. No weights are needed."""
    given = {name for name in context.params if _is_given(context, name)}
    if table is not None:
        _print_paper_table({*given, *typed_options(context)} - {"table", "as_json"}, as_json)
        return
    profile = {name: context.params[name] for name in PROFILE if name in given}
    spec = _spec(context, method, profile)

    from rich.console import Console

    from visionflow.cost.conventions import Convention
    from visionflow.cost.load import load_shape
    from visionflow.cost.model import cost_of
    from visionflow.cost.visipruner import Profile, papers_accounting
    from visionflow.report.flops import Report
    from visionflow.report.sheet import screen

    if convention is not None:
        conventions: list[Convention] = [cast("Convention", convention)]
    else:
        conventions = ["paper"] if as_json else list(get_args(Convention))
    # Without a network the Hub's client reports each of its retries; the last failure is ours to tell.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    with Console(stderr=True).status(f"reading the configuration of {model}"):
        shape = load_shape(model)
    n = image_tokens if image_tokens is not None else shape.image_tokens
    if n is None:
        raise VisionFlowError(f"the image tokens of {model} depend on the picture: say how many with --image-tokens")
    course, options = _course(spec, profile, shape.depth)
    costs = [
        cost_of(
            course,
            shape,
            each,
            image_tokens=n,
            text_tokens=text_tokens,
            instruction_tokens=instruction_tokens,
            logits_rows=1 if logits == "last" else None,
            bytes_per_element=dtype_bytes,
        )
        for each in conventions
    ]
    counts = course.image_tokens(n, shape.num_layers)
    accounting = papers_accounting(course, shape, n, text_tokens) if isinstance(course, Profile) else None
    name = spec.method.name if spec else NONE
    report = Report(model, name, options, n, counts, text_tokens, dtype_bytes, costs, accounting)
    if as_json:
        print_json(report.to_json())
    else:
        report.show(screen())


def _is_given(context: typer.Context, parameter: str) -> bool:
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def _spec(context: typer.Context, method: "Spec | None", profile: Iterable[str]) -> "Spec | None":
    """The method with what was typed for it; only visipruner has a `profile`, and that instead of thresholds."""
    from visionflow.methods import VisiPruner
    from visionflow.methods.fields import settings_of

    typed = {*typed_options(context), *profile}
    if method is None:
        check_options(NONE, typed, ())
        return None
    profiled = method.method is VisiPruner
    check_options(method.method.name, typed, ("shallow_layers", *PROFILE) if profiled else settings_of(method.method))
    return with_options(context, method)


def _course(spec: "Spec | None", profile: dict[str, Any], num_layers: int) -> "tuple[Course, dict[str, Any]]":
    """What a prompt goes through, and the settings from which that follows."""
    from visionflow.core.plan import Plan
    from visionflow.cost.visipruner import Profile
    from visionflow.methods import VisiPruner
    from visionflow.methods.spec import said_of

    if spec is None:
        return Plan(), {}
    method = spec.of(num_layers)
    if not isinstance(method, VisiPruner):
        return method.plan(), said_of(method)
    said = {"shallow_layers": method.shallow_layers} if "shallow_layers" in spec.settings else {}
    course = Profile.of_method(method, num_layers, **said, **profile)
    return course, asdict(course)


def _print_paper_table(others: set[str], as_json: bool) -> None:
    from visionflow.report.flops import show_tables, tables_to_json
    from visionflow.report.sheet import screen

    if others:
        raise VisionFlowError(f"--table has the paper's own settings: leave out {', '.join(map(flag, sorted(others)))}")
    if as_json:
        print_json(tables_to_json())
    else:
        show_tables(screen())
