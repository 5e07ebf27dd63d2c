"""`visionflow bench`: how fast each method is, beside what the arithmetic allows."""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from visionflow.cli.folders import make_folder
from visionflow.cli.method_options import METHODS_HERE
from visionflow.cli.options import (
    MODEL_HELP,
    MOST_AT_A_TIME,
    MOST_LAYERS,
    MOST_MINUTES,
    MOST_ROUNDS,
    MOST_TOKENS,
    SHAPE_NAMES,
    Device,
    Dtype,
    Json,
    Threads,
    option,
    use_threads,
)
from visionflow.cli.output import quiet_libraries, tell, working
from visionflow.cli.values import methods as read_methods
from visionflow.cli.values import names, number, numbers, place, whole

if TYPE_CHECKING:
    from visionflow.bench.measure import Settings

SHAPES_HELP = (
    f"with random weights (nothing is downloaded): {SHAPE_NAMES}; or a saved LLaVA or Qwen2.5-VL: {MODEL_HELP}"
)

TextTokens = Annotated[
    int, option(whole(2, MOST_TOKENS), "N", "All other tokens of each prompt, before and after the picture.")
]
Results = Annotated[Path | None, option(place, "FOLDER", "Folder for the results as JSON, and the figure.")]


def shape_layers(shown: str) -> Any:
    """--layers, with what is done where none are given."""
    return option(whole(1, MOST_LAYERS), "N", "Decoder layers of a shape.", shown=shown)


def bench(
    model: Annotated[
        Sequence[str], option(names, "A,B", f"Shapes {SHAPES_HELP}. Several are run one after the other.")
    ] = ("llava-1b",),
    layers: Annotated[
        int | None, shape_layers("all, or as many as suit the memory and, on a CPU, a few minutes")
    ] = None,
    methods: Annotated[
        Sequence[str] | None,
        option(
            read_methods,
            "A,B",
            f"Rows beside none (the unpruned model): {METHODS_HERE}, each with settings of your own after a colon, "
            "fastv:k=3,r=0.75; plan files; package.module:Class.",
            shown="all, with their papers' settings",
        ),
    ] = None,
    batch: Annotated[
        Sequence[int], option(numbers(1, MOST_AT_A_TIME), "N,N", "Prompts at a time: 1,8 runs each row with both.")
    ] = (1,),
    image_tokens: Annotated[
        Sequence[int] | None,
        option(
            numbers(1, MOST_TOKENS),
            "N,N",
            "Image tokens of each prompt, from as many pictures as it takes: 576,2880 runs each row with both.",
            shown="one picture",
        ),
    ] = None,
    text_tokens: TextTokens = 64,
    new_tokens: Annotated[int, option(whole(1, MOST_TOKENS), "N", "Length of the answers.")] = 32,
    repeats: Annotated[int, option(whole(1, MOST_ROUNDS), "N", "Rounds, at most; each runs every row once.")] = 5,
    time_limit: Annotated[
        float,
        option(
            number(0, MOST_MINUTES),
            "MINUTES",
            "Per model and size of the prompts: no round is begun that would end later; one is run.",
        ),
    ] = 8.0,
    dtype: Dtype = None,
    device: Device = None,
    threads: Threads = None,
    out: Results = None,
    as_json: Json = False,
) -> None:
    """Time and memory of each method beside the dense model, runs taken in turns, and what the arithmetic allows.

    bound: FLOPs of the dense prefill over those of the pruned one, probes included; realised: the same of the measured
    times (medians); efficiency: realised over bound, beside what the machine's matrix products allow by themselves.
    Vision encoder, probes, prefill, decoding and the peak memory of the prefill are measured apart.
    """
    make_folder(out)
    with working("loading the libraries"):
        use_threads(threads)
        from visionflow.bench.machine import describe_machine
        from visionflow.bench.measure import Settings
        from visionflow.bench.rows import check_methods
        from visionflow.loading.models import check_device

        place = check_device(device)
        check_models(model, layers, dtype)
        check_methods(methods or ())
    sizes = [
        Settings(methods or (), prompts, tokens, text_tokens, new_tokens, repeats, time_limit_s=60 * time_limit)
        for prompts in batch
        for tokens in image_tokens or (None,)
    ]
    found = {
        "machine": describe_machine(place),
        "repeats": repeats,
        "time_limit_s": sizes[0].time_limit_s,
        "models": [result for name in model for result in _bench_one(name, sizes, layers, dtype, device)],
    }
    from visionflow.report.bench import show_bench
    from visionflow.report.figures.bench import draw_bench

    tell(found, "bench", out, as_json, draw_bench, show_bench)


def check_models(models: Sequence[str], layers: int | None, dtype: str | None) -> None:
    """Refuse what can be refused before any weights are made or read."""
    from visionflow.bench.prompt import pictures_for
    from visionflow.bench.shapes import SHAPES, shape_config
    from visionflow.loading.models import check_dtype, load_config

    check_dtype(dtype)
    for name in models:
        config = shape_config(name, layers) if name in SHAPES else load_config(name)
        pictures_for(config.model_type)


def _bench_one(
    name: str, sizes: Sequence["Settings"], layers: int | None, dtype: str | None, device: str | None
) -> list[dict[str, Any]]:
    """One model, with prompts of each size; as deep as suits the largest."""
    from visionflow.bench.measure import measure
    from visionflow.bench.subject import open_subject
    from visionflow.cli.progress import steps

    quiet_libraries(name)
    with working(f"making {name}"):
        subject = open_subject(name, layers, dtype, device, max(size.prompt_tokens for size in sizes))
    results = []
    for size in sizes:
        with steps(name) as on_step:
            results.append(measure(subject, size, on_step).to_json())
    del subject
    gc.collect()  # the next model needs the room
    return results
