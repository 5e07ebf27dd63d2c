"""`visionflow flops`: what a prompt costs dense and pruned, for any model shape, without weights."""

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from visionflow.cli.method_options import K1, K2, R1, R2, K, R, layer_option
from visionflow.cli.methods import flag, own_options
from visionflow.cli.options import MODEL_HELP, MOST_TOKENS, SHAPE_NAMES, Json, method_option, option
from visionflow.cli.output import print_json
from visionflow.cli.values import one_of, whole, word
from visionflow.errors import VisionFlowError

if TYPE_CHECKING:
    from visionflow.cost.model import Course

METHOD_OPTIONS: dict[str, tuple[str, ...]] = {
    "himap": ("k1", "r1", "k2", "r2"),
    "fastv": ("k", "r"),
    "vtw": ("k",),
    "random": ("k", "r"),
    # It decides by what it sees: here are the numbers of one course, by default the means of its paper.
    "visipruner": ("shallow_layers", "fire_layer", "kept", "exit_layer"),
    "none": (),
}
_DEPTH = "in a model of 32 layers; earlier in shallower ones"


def flops(
    context: typer.Context,
    model: Annotated[
        str,
        option(word, "MODEL", f"A shape: {SHAPE_NAMES}; a config.json; or a saved model: {MODEL_HELP}."),
    ] = "llava-1.5-7b",
    method: Annotated[str, method_option(METHOD_OPTIONS)] = "himap",
    k1: K1 = None,
    r1: R1 = None,
    k2: K2 = None,
    r2: R2 = None,
    k: K = None,
    r: R = None,
    shallow_layers: Annotated[
        int | None,
        layer_option("visipruner: layers that do not read the image.", f"6 {_DEPTH}, or up to --fire-layer", least=0),
    ] = None,
    fire_layer: Annotated[
        int | None, layer_option("visipruner: last layer with all image tokens.", f"14 {_DEPTH}", least=0)
    ] = None,
    kept: Annotated[
        int | None, option(whole(1, MOST_TOKENS), "N", "visipruner: image tokens kept after it.", shown="10")
    ] = None,
    exit_layer: Annotated[
        int | None, layer_option("visipruner: first layer without image tokens.", f"24 {_DEPTH}")
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
        _print_paper_table(given - {"table", "as_json"}, as_json)
        return
    typed = own_options(method, {name: context.params[name] for name in given}, METHOD_OPTIONS)

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
    options = _options(method, typed, shape.num_layers)
    course = _course_of(method, options)
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
    report = Report(model, method, options, n, counts, text_tokens, dtype_bytes, costs, accounting)
    if as_json:
        print_json(report.to_json())
    else:
        report.show(screen())


def _is_given(context: typer.Context, parameter: str) -> bool:
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def _options(method: str, typed: dict[str, Any], num_layers: int) -> dict[str, Any]:
    """Those `typed` and, for the others, what suits the depth."""
    from visionflow.cost.visipruner import Profile
    from visionflow.methods import METHODS

    if method != "visipruner":
        usual = METHODS[method].defaults(num_layers) if method in METHODS else {}
        return usual | typed
    options = asdict(Profile.of_depth(num_layers)) | typed
    if "shallow_layers" not in typed:
        options["shallow_layers"] = min(options["shallow_layers"], options["fire_layer"])
    return options


def _course_of(method: str, options: dict[str, Any]) -> "Course":
    from visionflow.core.plan import Plan
    from visionflow.cost.visipruner import Profile
    from visionflow.methods import METHODS

    if method == "none":
        return Plan()
    return Profile(**options) if method == "visipruner" else METHODS[method](**options).plan()


def _print_paper_table(others: set[str], as_json: bool) -> None:
    from visionflow.report.flops import show_tables, tables_to_json
    from visionflow.report.sheet import screen

    if others:
        raise VisionFlowError(f"--table has the paper's own settings: leave out {', '.join(map(flag, sorted(others)))}")
    if as_json:
        print_json(tables_to_json())
    else:
        show_tables(screen())
