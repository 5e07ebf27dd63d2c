"""VisiPruner's prefill beside the dense one at LLaVA-1.5's width: ``python docs/study/visipruner_speed.py``.

Random weights decide nothing, so the paper's mean course is forced: at 32 layers 0 to 5 do not read the picture, layer
14 fires, ten tokens stay, none from layer 24 on. All decoder layers share the weights of one (each is far larger than
any cache of a processor, so nothing is gained by that), and so the full depth fits any machine. Dense and pruned
prefills are run in turns, and timed by the clock and by the processor time they took, which other jobs on the machine
disturb less. Prints a table, or with --json one object.
"""

import copy
import json
import time
from collections.abc import Callable
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedModel

from visionflow.bench.clock import ProcessorClock
from visionflow.bench.passes import TimedProbes, prefill
from visionflow.bench.prompt import make_prompt
from visionflow.bench.rounds import Summary, in_turns, ratio_of_medians
from visionflow.bench.rows import Variant, bench_rows
from visionflow.bench.shapes import random_model, shape_config
from visionflow.bench.unclocked import running_as
from visionflow.pruning import prune

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}


def repeated_layer(shape: str, layers: int) -> PreTrainedModel:
    """The model of a shape with `layers` decoder layers that share one set of weights, fp32 on the CPU."""
    model = random_model(shape_config(shape, 1), torch.float32, torch.device("cpu"))
    decoder: Any = model.get_decoder()
    first = decoder.layers[0]
    shared = {id(part): part for part in (*first.parameters(), decoder.config)}
    for index in range(1, layers):
        layer = copy.deepcopy(first, dict(shared))
        layer.self_attn.layer_idx = index
        decoder.layers.append(layer)
    decoder.config.num_hidden_layers = layers
    return model


def measured(model: PreTrainedModel, inputs: dict[str, Any], rows: list[Variant], rounds: int) -> dict[str, Any]:
    """Seconds of every prefill by row and clock; what the pruned one costs, and how long its looks take."""
    dense, pruned = rows
    assert pruned.method is not None
    clock = ProcessorClock()
    with prune(model, TimedProbes(pruned.method, clock)) as trace:
        prefill(model, inputs)  # the warm-up, too
        cost = trace.cost("flops")
    looks = clock.laps()[::2]
    seconds: dict[str, dict[str, list[float]]] = {name: {row.name: [] for row in rows} for name in CLOCKS}
    for turn in in_turns(rows, rounds):
        for row in turn:
            with running_as(row, model):
                starts = {name: now() for name, now in CLOCKS.items()}
                prefill(model, inputs)
                for name, now in CLOCKS.items():
                    seconds[name][row.name].append(now() - starts[name])
    return {
        "method": pruned.settings,
        "bound": 1 / cost.ratio,
        "kv_ratio": cost.kv_bytes_pruned / cost.kv_bytes_dense,
        "looks": len(looks),
        "look_s": sum(looks),
        "clocks": {name: told(of_rows[dense.name], of_rows[pruned.name], 1 / cost.ratio)
                   for name, of_rows in seconds.items()},
    }  # fmt: skip


def told(dense: list[float], pruned: list[float], bound: float) -> dict[str, Any]:
    """Medians, quartiles, the ratio of the medians with its 95 % interval, and what that is of the bound."""
    ratio = ratio_of_medians(dense, pruned)
    return {
        "dense": vars(Summary.of(dense)), "visipruner": vars(Summary.of(pruned)),
        "realised": vars(ratio), "efficiency": ratio.value / bound,
    }  # fmt: skip


def main(
    layers: Annotated[int, typer.Option(min=4, help="Decoder layers; the course is put at a like depth.")] = 32,
    rounds: Annotated[int, typer.Option(min=1, help="Dense and pruned prefills, taken in turns.")] = 7,
    image_tokens: Annotated[int | None, typer.Option(min=1, help="Image tokens. [default: one picture]")] = None,
    text_tokens: Annotated[int, typer.Option(min=2, help="Text tokens, before and after the picture.")] = 64,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    shape: Annotated[str, typer.Option(help="One of the shapes of visionflow bench.")] = "llava-1.5-7b",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Ratio of the dense to the pruned prefill, what arithmetic allows, and what the looks cost."""
    torch.set_num_threads(threads)
    model = repeated_layer(shape, layers)
    prompt = make_prompt(model, image_tokens=image_tokens, text_tokens=text_tokens)
    found = measured(model, prompt.decoder_inputs(prompt.noise(model)), bench_rows(["visipruner"], layers), rounds)
    found = {"shape": shape, "layers": layers, "image_tokens": prompt.image_tokens, "text_tokens": text_tokens,
             "threads": threads, "rounds": rounds} | found  # fmt: skip
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        show(found)


def show(found: dict[str, Any]) -> None:
    """The table, with the looks below it."""
    console = Console(width=160, highlight=False, markup=False)
    console.print("{shape}, {layers} layers, {image_tokens} image and {text_tokens} text tokens, fp32, "
                  "{threads} threads, {rounds} rounds: {method}".format(**found))  # fmt: skip
    table = Table("clock", "dense s [quartiles]", "visipruner s", "realised [95 %]", "bound", "efficiency")
    for name, of_clock in found["clocks"].items():
        table.add_row(
            name,
            *("{median:.2f} [{q1:.2f}, {q3:.2f}]".format(**of_clock[row]) for row in ("dense", "visipruner")),
            _interval(**of_clock["realised"]),
            f"{found['bound']:.2f}",
            f"{of_clock['efficiency']:.0%}",
        )
    console.print(table)
    share = found["look_s"] / found["clocks"]["processor"]["dense"]["median"]
    console.print(f"{found['looks']} looks take {found['look_s']:.3f} s of processor time, {share:.2%} of the dense "
                  f"prefill; the KV cache is {found['kv_ratio']:.1%} of the dense one")  # fmt: skip


def _interval(value: float, low: float | None, high: float | None) -> str:
    return f"{value:.2f}" if low is None else f"{value:.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    typer.run(main)
