"""`visionflow bench`: how fast each method is, beside what the arithmetic allows."""

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visionflow.cli.bench_output import make_folder, tell
from visionflow.cli.options import Device, Json, Threads, listed, use_threads
from visionflow.cli.output import quiet_libraries, working
from visionflow.errors import VisionFlowError

if TYPE_CHECKING:
    from visionflow.bench.measure import Settings

Models = Annotated[
    str,
    typer.Option(
        metavar="A,B",
        help="Shapes with random weights (nothing is downloaded): llava-1b, llava-1.5-7b, llava-1.5-13b, "
        "qwen2.5-vl-7b; or embedded, a directory, owner/name. Several are run one after the other.",
    ),
]
Layers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Decoder layers of a shape. [default: all, or as many as suit the memory and, on a CPU, a few minutes]",
    ),
]
BenchDtype = Annotated[
    str | None,
    typer.Option(help="float32, bfloat16 or float16. [default: bfloat16; float32 on a CPU; a saved model's own]"),
]
Methods = Annotated[
    str,
    typer.Option(
        metavar="A,B",
        help="Rows beside none (the unpruned model): random, himap, fastv, vtw, visipruner, each with settings of your "
        "own after colons, fastv:k=3:r=0.75. [default: all, with their papers' settings]",
    ),
]
TextTokens = Annotated[int, typer.Option(min=2, help="All other tokens of each prompt, before and after the picture.")]
Out = Annotated[Path | None, typer.Option(help="Folder for the results as JSON, and the figure.")]


def bench(
    model: Models = "llava-1b",
    layers: Layers = None,
    methods: Methods = "",
    batch: Annotated[int, typer.Option(min=1, help="Prompts at a time.")] = 1,
    image_tokens: Annotated[
        int | None,
        typer.Option(
            min=1, help="Image tokens of each prompt, from as many pictures as it takes. [default: one picture]"
        ),
    ] = None,
    text_tokens: TextTokens = 64,
    new_tokens: Annotated[int, typer.Option(min=1, help="Length of the answers.")] = 5,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds, at most; each runs every row once.")] = 5,
    time_limit: Annotated[
        float,
        typer.Option(min=0, metavar="MINUTES", help="Per model: no round is begun that would end later; one is run."),
    ] = 8.0,
    dtype: BenchDtype = None,
    device: Device = None,
    threads: Threads = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Time and memory of each method beside the dense model, runs taken in turns, and what the arithmetic allows.

    bound: FLOPs of the dense prefill over those of the pruned one, probes included; realised: the same of the measured
    times (medians); efficiency: realised over bound. Vision encoder, probes, prefill, decoding and the peak memory of
    the prefill are measured apart.
    """
    names = listed(model)
    make_folder(out)
    with working("loading the libraries"):
        use_threads(threads)
        from visionflow.bench.machine import describe_machine
        from visionflow.bench.measure import Settings
        from visionflow.loading.models import check_device

        place = check_device(device)
        check_models(names, layers, dtype)
        check_methods(listed(methods))
    settings = Settings(
        listed(methods), batch, image_tokens, text_tokens, new_tokens, repeats, time_limit_s=60 * time_limit
    )
    found = {
        "machine": describe_machine(place),
        "repeats": repeats,
        "time_limit_s": settings.time_limit_s,
        "models": [_bench_one(name, settings, layers, dtype, device) for name in names],
    }
    from visionflow.cli.bench_report import show_bench
    from visionflow.viz.bench_figures import draw_bench

    tell(found, "bench", out, as_json, draw_bench, show_bench)


def check_models(names: list[str], layers: int | None, dtype: str | None) -> None:
    """Refuse what can be refused before any weights are made."""
    from visionflow.bench.shapes import SHAPES, shape_config
    from visionflow.loading.models import check_dtype

    check_dtype(dtype)
    if not names:
        raise VisionFlowError("--model names no model")
    for name in names:
        if name in SHAPES:
            shape_config(name, layers)


def check_methods(named: list[str]) -> None:
    """Refuse unknown methods and settings; whether they fit a model's depth is seen when it is known."""
    from visionflow.bench.rows import bench_rows

    bench_rows(named, num_layers=1000)


def _bench_one(
    name: str, settings: "Settings", layers: int | None, dtype: str | None, device: str | None
) -> dict[str, Any]:
    from visionflow.bench.measure import measure
    from visionflow.bench.subject import EMBEDDED, open_subject
    from visionflow.cli.bench_progress import steps

    quiet_libraries(None if name == EMBEDDED else name)
    with working(f"making {name}"):
        subject = open_subject(name, layers, dtype, device, settings.prompt_tokens)
    with steps(name) as on_step:
        result = measure(subject, settings, on_step)
    del subject
    gc.collect()  # the next model needs the room
    return result.to_json()
