"""VisiPruner on the embedded model: its thresholds from training prompts, and what it decided in a finished run.

``python docs/study/visipruner.py thresholds`` proposes thresholds, and says what they do to the prompts that they come
from, task by task. ``python docs/study/visipruner.py decisions runs/phases`` reads the records of ``visionflow eval
--phases --out runs/phases``: where each row fired, how many image tokens it kept, where it withdrew them.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from statistics import fmean, median
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from visionflow import VisiPruner, prune
from visionflow.loading.models import Loaded, load_model
from visionflow.loading.prompts import make_prompts
from visionflow.scenes import draw, sample_item
from visionflow.tuning.thresholds import calibrate

TASKS = ("existence", "choice", "science", "open", "caption")
COLUMNS = ("prompts", "fires", "firing layer", "kept, median", "kept, mean", "exits", "exit layer")

app = typer.Typer(add_completion=False, help=__doc__)


def training_prompts(loaded: Loaded, prompts: int) -> dict[str, Any]:
    """By task, the inputs for its first `prompts` questions of the training split, which no evaluation asks."""
    inputs = {}
    for task in TASKS:
        asked = [sample_item(task, "train", number) for number in range(prompts)]
        pictures, questions = [[draw(scene)] for scene, _ in asked], [item.prompt for _, item in asked]
        inputs[task] = make_prompts(loaded.model, loaded.processor, pictures, questions)
    return inputs


@torch.inference_mode()
def decided_on(loaded: Loaded, inputs: Any, method: VisiPruner) -> list[dict[str, Any]]:
    """What `method` decides for each prompt of a batch, as the records of `visionflow eval` have it."""
    with prune(loaded.model, method) as trace:
        loaded.model(**inputs, logits_to_keep=1)
    return [trace.decisions[-1].tell(sample) for sample in range(len(inputs["input_ids"]))]


def recorded(folder: Path, row: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The task of each sample in the records of `folder`, and what `row` decided."""
    with (folder / "records.jsonl").open(encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            yield record["task"], record["rows"][row]["decided"]


@app.command()
def thresholds(
    prompts: Annotated[int, typer.Option(min=1, help="Training prompts of each of the five tasks.")] = 24,
    shallow_layers: Annotated[int, typer.Option(min=0, help="Layers of the shallow phase.")] = 2,
    fires: Annotated[float, typer.Option(help="Share of the prompts that are to have a layer that fires.")] = 0.9,
    kept: Annotated[float, typer.Option(help="Image tokens to be kept on average, where a layer fires.")] = 10.0,
) -> None:
    """Propose thresholds for the embedded model, relative to the size of the attention output."""
    loaded = load_model(None, None, "cpu")
    inputs = training_prompts(loaded, prompts)
    method = calibrate(
        loaded.model, inputs.values(), VisiPruner(shallow_layers, token_scale="relative"), fires=fires, kept=kept
    )
    print(f"layer_threshold {method.layer_threshold:.4f}, token_threshold {method.token_threshold:.5f}")
    show(f"{method}", ((task, each) for task in TASKS for each in decided_on(loaded, inputs[task], method)))


@app.command()
def decisions(
    folder: Annotated[Path, typer.Argument(help="The --out of visionflow eval --phases.")],
    rows: Annotated[str, typer.Option(metavar="A,B", help="Rows of that run.")] = "visipruner,visipruner-middle-deep",
) -> None:
    """Tell what some rows of an evaluation decided, task by task."""
    for row in rows.split(","):
        show(row, recorded(folder, row))


def show(title: str, decided: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """One line per task, and one for all of them."""
    of_task: dict[str, list[dict[str, Any]]] = {}
    for task, each in decided:
        of_task.setdefault(task, []).append(each)
    table = Table("task", *COLUMNS, title=title, title_justify="left")
    for task, several in (*of_task.items(), ("all", [*chain(*of_task.values())])):
        table.add_row(task, *cells(several))
    Console(width=160, highlight=False, markup=False).print(table)


def cells(decided: list[dict[str, Any]]) -> list[str]:
    """One line of the table; the layers with how often each of them fires, or is the first without image tokens."""
    fired = [each for each in decided if each["firing_layer"] is not None]
    exits = [each["exit_layer"] for each in fired if each["exit_layer"] is not None]
    kept = [len(each["kept"]) for each in fired]
    return [
        str(len(decided)),
        f"{len(fired) / len(decided):.0%}",
        counted(each["firing_layer"] for each in fired),
        f"{median(kept):.0f}" if kept else "",
        f"{fmean(kept):.1f}" if kept else "",
        f"{len(exits) / len(decided):.0%}",
        counted(exits),
    ]


def counted(layers: Iterable[int]) -> str:
    """``layer: times`` for each layer."""
    return ", ".join(f"{layer}: {times}" for layer, times in sorted(Counter(layers).items()))


if __name__ == "__main__":
    app()
