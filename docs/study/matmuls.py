"""What a processor's matrix products allow by themselves: ``python docs/study/matmuls.py``.

The FLOPs of a prefill are mostly products of tokens with weights, and a processor does not run those of few tokens at
the rate of those of many: each product reads all its weights. Here the linear layers of one decoder layer are run by
themselves, on as many tokens as each method has in each layer, in turns; so what is lost to the processor can be told
from what is lost to the pruning. Prints a table, or with --json one object.
"""

import json
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from visionflow.bench.clock import ProcessorClock
from visionflow.bench.products import linear_layers, product_times, products_ratio
from visionflow.bench.rows import bench_rows
from visionflow.bench.shapes import SHAPES, random_model, shape_config
from visionflow.core.plan import Plan
from visionflow.loading.models import check_dtype


def products(shape: str, dtype: torch.dtype) -> list[nn.Linear]:
    """The linear layers of one decoder layer of `shape`, on the CPU."""
    model: Any = random_model(shape_config(shape, 1), dtype, torch.device("cpu"))
    return linear_layers(model.get_decoder().layers[0])


def main(
    shape: Annotated[str, typer.Option(help=f"One of {', '.join(SHAPES)}.")] = "llava-1b",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "bfloat16",
    methods: Annotated[str, typer.Option(help="As visionflow bench takes them.")] = "himap,fastv,vtw",
    image_tokens: Annotated[int, typer.Option(min=1, help="Image tokens.")] = 576,
    text_tokens: Annotated[int, typer.Option(min=2, help="Text tokens.")] = 64,
    rounds: Annotated[int, typer.Option(min=2, help="Rounds; each runs every number of tokens once.")] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Ratio of the weights' products, dense over pruned, beside that of their FLOPs."""
    if shape not in SHAPES:
        raise typer.BadParameter(f"--shape must be one of {', '.join(SHAPES)}, not {shape}")
    depth = SHAPES[shape][0]
    number = check_dtype(dtype)
    assert number is not None
    rows = bench_rows(methods.split(","), depth)
    plans = {row.name: row.method.plan() if row.method else Plan() for row in rows}
    present = {name: plan.work(image_tokens, 35, text_tokens - 35, depth).rows for name, plan in plans.items()}
    counts = sorted({n for layers in present.values() for n in layers}, reverse=True)
    layers = products(shape, number)
    times = product_times(layers, counts, rounds, ProcessorClock())
    weights = sum(layer.weight.numel() for layer in layers)
    found = {
        "shape": shape, "dtype": dtype, "image_tokens": image_tokens, "text_tokens": text_tokens, "rounds": rounds,
        "gflops_per_second": {n: 2 * n * weights / sorted(times[n])[len(times[n]) // 2] / 1e9 for n in counts},
        "rows": {
            name: {"bound": sum(present["none"]) / sum(present[name]),
                   "realised": vars(products_ratio(present["none"], present[name], times))}
            for name in present
        },
    }  # fmt: skip
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        show(found)


def show(found: dict[str, Any]) -> None:
    """The rates, then the table."""
    console = Console(width=120, highlight=False, markup=False)
    console.print(
        "{shape}, {dtype}, {image_tokens} image and {text_tokens} text tokens, {rounds} rounds".format(**found)
    )
    rates = ", ".join(f"{rate:.1f} on {n}" for n, rate in found["gflops_per_second"].items())
    console.print(f"GFLOPs a second by tokens: {rates}")
    table = Table("", "FLOPs allow", "products alone [95 %]", "efficiency")
    for name, row in found["rows"].items():
        ratio = row["realised"]
        table.add_row(
            name, f"{row['bound']:.2f}", "{value:.2f} [{low:.2f}, {high:.2f}]".format(**ratio),
            f"{ratio['value'] / row['bound']:.3f}",
        )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
