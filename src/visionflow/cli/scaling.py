"""`visionflow scaling`: how cost and time grow with image tokens, batch and depth."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visionflow.cli.bench import BenchDtype, Out, TextTokens, check_methods, check_models
from visionflow.cli.bench_output import make_folder, tell
from visionflow.cli.options import Device, Json, Threads, listed, use_threads
from visionflow.cli.output import quiet_libraries, working
from visionflow.errors import VisionFlowError

if TYPE_CHECKING:
    from pathlib import Path

    from visionflow.bench.scaling import Grid

_CPU_LAYERS = 6  # the longest prompts take minutes even so


def scaling(
    model: Annotated[
        str,
        typer.Option(
            help="A shape with random weights (nothing is downloaded): llava-1b, llava-1.5-7b, llava-1.5-13b, "
            "qwen2.5-vl-7b; or embedded, a directory, owner/name."
        ),
    ] = "llava-1b",
    layers: Annotated[
        int | None,
        typer.Option(min=1, help="Decoder layers of a shape. [default: 6 on a CPU, else as many as fit the memory]"),
    ] = None,
    methods: Annotated[
        str, typer.Option(metavar="A,B", help="Rows beside none, the unpruned model; see visionflow bench.")
    ] = "himap",
    image_tokens: Annotated[
        str, typer.Option(metavar="N,N", help="Image tokens of a prompt, at batch 1 and full depth.")
    ] = "144,288,576,1152,2304,4608,9216,16384",
    batches: Annotated[str, typer.Option(metavar="N,N", help="Prompts of one picture at a time.")] = "1,2,4,8,16",
    depths: Annotated[
        str, typer.Option(metavar="N,N", help="Decoder layers. [default: quarters of the full depth]")
    ] = "",
    text_tokens: TextTokens = 64,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds at each point, at most.")] = 3,
    time_limit: Annotated[
        float, typer.Option(min=0, metavar="MINUTES", help="No point is begun that would end later.")
    ] = 8.0,
    dtype: BenchDtype = None,
    device: Device = None,
    threads: Threads = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """FLOPs and time of the prefill against image tokens, batch and depth, dense and pruned, with fitted exponents.

    Each axis is followed from the same base: one prompt of one picture at full depth. Points that do not fit the memory
    or the time limit are left out and named. With --out, Ctrl-C loses nothing: the same command goes on from there.
    """
    sizes = {
        "image_tokens": _numbers("--image-tokens", image_tokens),
        "batch": _numbers("--batches", batches),
        "layers": _numbers("--depths", depths),
    }
    make_folder(out)
    with working(f"making {model}"):
        use_threads(threads)
        from visionflow.bench.machine import describe_machine
        from visionflow.bench.rows import bench_rows
        from visionflow.bench.scaling import Scaling, by_axis, exponents, scale
        from visionflow.bench.store import Store
        from visionflow.bench.subject import EMBEDDED, open_subject
        from visionflow.cli.bench_progress import steps
        from visionflow.loading.models import check_device

        quiet_libraries(None if model == EMBEDDED else model)
        place = check_device(device)
        check_models([model], layers, dtype)
        check_methods(listed(methods))
        layers = layers or _default_layers(model, place.type)
        subject = open_subject(model, layers, dtype, device, max(sizes["image_tokens"], default=1))
    grid = _grid(subject.model, sizes)
    asked = Scaling(grid, listed(methods), text_tokens, repeats, 60 * time_limit)
    rows = bench_rows(asked.methods, grid.base.layers)
    described = {
        "machine": describe_machine(place),
        "model": subject.name,
        "layers": grid.base.layers,
        "dtype": str(subject.model.dtype).removeprefix("torch."),
        "text_tokens": text_tokens,
        "rows": {row.name: row.settings for row in rows},
    }
    store = Store(described, out)
    with steps(f"{len(rows)} rows") as on_step:
        try:
            skipped = scale(subject.model, asked, store, on_step)
        except KeyboardInterrupt:
            _say_stopped(len(store.entries), len(grid.points()), out)
            raise typer.Exit(130) from None
    axes = by_axis(store.entries, grid.base)
    found = described | {
        "note": subject.note,
        "base": vars(grid.base),
        "axes": axes,
        "exponents": exponents(axes),
        "skipped": skipped,
    }
    from visionflow.cli.scaling_report import show_scaling
    from visionflow.viz.bench_figures import draw_scaling

    tell(found, "scaling", out, as_json, draw_scaling, show_scaling)


def _numbers(option: str, typed: str) -> list[int]:
    """The whole numbers in ``1,2,4``."""
    parts = listed(typed)
    if not all(part.isdecimal() and int(part) for part in parts):
        raise VisionFlowError(f"{option} is a list of whole numbers like 1,2,4, each at least 1, not {typed}")
    return sorted({int(part) for part in parts})


def _default_layers(model: str, device: str) -> int | None:
    from visionflow.bench.shapes import SHAPES

    return _CPU_LAYERS if device == "cpu" and model in SHAPES else None


def _grid(model: Any, sizes: dict[str, list[int]]) -> "Grid":
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
