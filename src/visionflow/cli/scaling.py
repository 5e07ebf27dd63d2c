"""`visionflow scaling`: how cost and time grow with image tokens, batch and depth."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visionflow.cli.bench import SHAPES_HELP, Results, TextTokens, check_models, shape_layers
from visionflow.cli.folders import make_folder
from visionflow.cli.options import (
    MOST_AT_A_TIME,
    MOST_LAYERS,
    MOST_MINUTES,
    MOST_ROUNDS,
    MOST_TOKENS,
    Device,
    Dtype,
    Json,
    Threads,
    option,
    use_threads,
)
from visionflow.cli.output import quiet_libraries, tell, working
from visionflow.cli.values import methods as read_methods
from visionflow.cli.values import number, numbers, whole, word
from visionflow.errors import VisionFlowError

if TYPE_CHECKING:
    from pathlib import Path

    from visionflow.bench.scaling import Grid

_CPU_LAYERS = 6  # the longest prompts take minutes even so


def scaling(
    model: Annotated[str, option(word, "MODEL", f"A shape {SHAPES_HELP}.")] = "llava-1b",
    layers: Annotated[int | None, shape_layers("6 on a CPU, else as many as fit the memory")] = None,
    methods: Annotated[
        Sequence[str], option(read_methods, "A,B", "Rows beside none, the unpruned model; see visionflow bench.")
    ] = ("himap",),
    image_tokens: Annotated[
        Sequence[int],
        option(numbers(1, MOST_TOKENS), "N,N", "Image tokens of a prompt, at batch 1 and full depth."),
    ] = (144, 288, 576, 1152, 2304, 4608, 9216, 16384),
    batches: Annotated[
        Sequence[int], option(numbers(1, MOST_AT_A_TIME), "N,N", "Prompts of one picture at a time.")
    ] = (1, 2, 4, 8, 16),
    depths: Annotated[
        Sequence[int] | None,
        option(numbers(1, MOST_LAYERS), "N,N", "Decoder layers.", shown="quarters of the full depth"),
    ] = None,
    text_tokens: TextTokens = 64,
    repeats: Annotated[int, option(whole(1, MOST_ROUNDS), "N", "Rounds at each point, at most.")] = 3,
    time_limit: Annotated[
        float, option(number(0, MOST_MINUTES), "MINUTES", "No point is begun that would end later.")
    ] = 8.0,
    dtype: Dtype = None,
    device: Device = None,
    threads: Threads = None,
    out: Results = None,
    as_json: Json = False,
) -> None:
    """FLOPs and time of the prefill against image tokens, batch and depth, dense and pruned, with fitted exponents.

    Each axis is followed from the same base: one prompt of one picture at full depth. Points that do not fit the memory
    or the time limit are left out and named. With --out, Ctrl-C loses nothing: the same command goes on from there.
    """
    sizes = {"image_tokens": image_tokens, "batch": batches, "layers": depths or ()}
    make_folder(out)
    with working(f"making {model}"):
        use_threads(threads)
        from visionflow.bench.machine import describe_machine
        from visionflow.bench.points import Points
        from visionflow.bench.rows import bench_rows, check_methods
        from visionflow.bench.scaling import Scaling, by_axis, exponents, scale
        from visionflow.bench.subject import open_subject
        from visionflow.cli.progress import steps
        from visionflow.engines.hf.layer_kinds import depth_of
        from visionflow.loading.models import check_device

        quiet_libraries(model)
        place = check_device(device)
        check_models([model], layers, dtype)
        check_methods(methods)
        layers = layers or _default_layers(model, place.type)
        subject = open_subject(model, layers, dtype, device, max(image_tokens))
    grid = _grid(subject.model, sizes)
    asked = Scaling(grid, methods, text_tokens, repeats, 60 * time_limit)
    rows = bench_rows(asked.methods, depth_of(subject.model.config), subject.model.config.model_type)
    described = {
        "machine": describe_machine(place),
        "model": subject.name,
        "layers": grid.base.layers,
        "dtype": str(subject.model.dtype).removeprefix("torch."),
        "text_tokens": text_tokens,
        "rows": {row.name: row.settings for row in rows},
    }
    store = Points(described, out)
    with steps(f"{len(rows)} rows") as on_step:
        try:
            skipped = scale(subject.model, asked, store, on_step)
        except KeyboardInterrupt:
            _say_stopped(len(store.known), len(grid.points()), out)
            raise typer.Exit(130) from None
    axes = by_axis(list(store.known.values()), grid.base)
    found = described | {
        "note": subject.note,
        "base": vars(grid.base),
        "axes": axes,
        "exponents": exponents(axes),
        "skipped": skipped,
    }
    from visionflow.report.figures.bench import draw_scaling
    from visionflow.report.scaling import show_scaling

    tell(found, "scaling", out, as_json, draw_scaling, show_scaling)


def _default_layers(model: str, device: str) -> int | None:
    from visionflow.bench.shapes import SHAPES

    return _CPU_LAYERS if device == "cpu" and model in SHAPES else None


def _grid(model: Any, sizes: Mapping[str, Sequence[int]]) -> "Grid":
    from visionflow.bench.prompt import picture_tokens
    from visionflow.bench.scaling import Grid, Point

    depth = model.config.get_text_config().num_hidden_layers
    deepest = max(sizes["layers"], default=0)
    if deepest > depth:
        raise VisionFlowError(f"--depths goes up to {deepest}, the model has {depth} decoder layers: raise --layers")
    quarters = sorted({max(1, round(depth * part / 4)) for part in (1, 2, 3, 4)})
    base = Point(picture_tokens(model), 1, depth)
    return Grid(base, sizes["image_tokens"], sizes["batch"], sizes["layers"] or quarters)


def _say_stopped(done: int, total: int, out: "Path | None") -> None:
    way_on = f"the same command goes on from {out}" if out else "with --out it could go on"
    print(f"visionflow: stopped after {done} of {total} points; {way_on}", file=sys.stderr)
