"""`visionflow flops`: what a prompt costs dense and pruned, for any model shape, without weights."""

import logging
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from visionflow.cli.methods import flag, own_options
from visionflow.cli.options import Json
from visionflow.cli.output import print_json
from visionflow.errors import VisionFlowError

if TYPE_CHECKING:
    from visionflow.cost.model import Course

# The options of each method with the settings of its paper, for LLaVA-1.5-7B. VisiPruner decides by what it sees: here
# are the means of its paper (the firing layer is worked out from its cost).
METHOD_OPTIONS: dict[str, dict[str, int | float]] = {
    "himap": {"k1": 2, "r1": 0.5, "k2": 8, "r2": 0.75},
    "fastv": {"k": 2, "r": 0.5},
    "vtw": {"k": 16},
    "random": {"k": 2, "r": 0.5},
    "visipruner": {"shallow_layers": 6, "fire_layer": 14, "kept": 10, "exit_layer": 24},
    "none": {},
}


def flops(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Option(
            help="llava-1.5-7b, llava-1.5-13b, a config.json, a directory with one, or owner/name on the Hub."
        ),
    ] = "llava-1.5-7b",
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHOD_OPTIONS)}.")] = "himap",
    k1: Annotated[int | None, typer.Option(help="himap: layers before the first cut. [default: 2]")] = None,
    r1: Annotated[float | None, typer.Option(help="himap: fraction dropped at the first cut. [default: 0.5]")] = None,
    k2: Annotated[int | None, typer.Option(help="himap: layers before the second cut. [default: 8]")] = None,
    r2: Annotated[
        float | None, typer.Option(help="himap: fraction of the rest dropped at the second cut. [default: 0.75]")
    ] = None,
    k: Annotated[
        int | None, typer.Option(help="fastv, random, vtw: layers before the cut. [default: 2; 16 for vtw]")
    ] = None,
    r: Annotated[float | None, typer.Option(help="fastv, random: fraction dropped. [default: 0.5]")] = None,
    shallow_layers: Annotated[
        int | None,
        typer.Option(help="visipruner: layers that do not read the image. [default: 6, or fewer up to --fire-layer]"),
    ] = None,
    fire_layer: Annotated[
        int | None, typer.Option(help="visipruner: last layer with all image tokens. [default: 14]")
    ] = None,
    kept: Annotated[int | None, typer.Option(help="visipruner: image tokens kept after it. [default: 10]")] = None,
    exit_layer: Annotated[
        int | None, typer.Option(help="visipruner: first layer without image tokens. [default: 24]")
    ] = None,
    image_tokens: Annotated[
        int | None, typer.Option(help="Image tokens of the prompt. [default: one picture of the model]")
    ] = None,
    text_tokens: Annotated[int, typer.Option(help="All other tokens of the prompt, template included.")] = 60,
    instruction_tokens: Annotated[
        int | None, typer.Option(help="Text tokens after the image, for himap's probe. [default: all text tokens]")
    ] = None,
    convention: Annotated[
        str | None,
        typer.Option(help="paper, gated or flops: what is counted. [default: all three; paper with --json]"),
    ] = None,
    logits: Annotated[
        str, typer.Option(help="flops only: logits of the 'last' token, as in generate, or of 'all' tokens.")
    ] = "last",
    dtype_bytes: Annotated[int, typer.Option(help="Bytes per number in the KV cache.")] = 2,
    table: Annotated[
        str | None, typer.Option(help="himap: print the cost columns of that paper's Tables 1 and 2 beside ours.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What a prompt costs, dense and pruned: operations, image tokens per layer, KV cache. No weights are needed."""
    given = {name for name in context.params if _is_given(context, name)}
    if table is not None:
        _print_paper_table(table, given - {"table", "as_json"}, as_json)
        return
    typed = own_options(method, {name: context.params[name] for name in given}, METHOD_OPTIONS)
    options = METHOD_OPTIONS[method] | typed
    if method == "visipruner" and "shallow_layers" not in typed:
        options["shallow_layers"] = min(options["shallow_layers"], options["fire_layer"])
    if logits not in ("last", "all"):
        raise VisionFlowError(f"unknown --logits {logits!r}: choose last or all")
    if dtype_bytes < 1:
        raise VisionFlowError(f"--dtype-bytes must be at least 1, not {dtype_bytes}")

    from rich.console import Console

    from visionflow.cost.conventions import Convention, check_convention
    from visionflow.cost.load import load_shape
    from visionflow.cost.model import cost_of
    from visionflow.cost.report import Report
    from visionflow.cost.visipruner import Profile, papers_accounting

    if convention is not None:
        conventions = [check_convention(convention)]
    else:
        conventions = ["paper"] if as_json else list(get_args(Convention))
    # Without a network the Hub's client reports each of its retries; the last failure is ours to tell.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    with Console(stderr=True).status(f"reading the configuration of {model}"):
        shape = load_shape(model)
    n = image_tokens if image_tokens is not None else shape.image_tokens
    if n is None:
        raise VisionFlowError(f"the image tokens of {model} depend on the picture: say how many with --image-tokens")
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
    report = Report(model, method, options, counts, text_tokens, dtype_bytes, costs, accounting)
    if as_json:
        print_json(report.to_json())
    else:
        report.show(Console(markup=False, highlight=False))


def _is_given(context: typer.Context, parameter: str) -> bool:
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def _course_of(method: str, options: dict[str, Any]) -> "Course":
    from visionflow.cost.visipruner import Profile
    from visionflow.methods import METHODS
    from visionflow.runtime.plan import Plan

    if method == "none":
        return Plan()
    return Profile(**options) if method == "visipruner" else METHODS[method](**options).plan()


def _print_paper_table(table: str, others: set[str], as_json: bool) -> None:
    from rich.console import Console

    from visionflow.cost.himap_tables import rows
    from visionflow.cost.report import show_tables, tables_to_json

    if table != "himap":
        raise VisionFlowError(f"there is no table {table!r}: choose himap")
    if others:
        raise VisionFlowError(f"--table has the paper's own settings: leave out {', '.join(map(flag, sorted(others)))}")
    if as_json:
        print_json(tables_to_json(list(rows())))
    else:
        show_tables(list(rows()), Console(markup=False, highlight=False))
