"""What VisiPruner says of the inside of a model, measured on the embedded one: ``python docs/study/lenses.py``.

Writes lenses.json and lenses.png into --out, and prints a table with a line per layer.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from visionflow.bootstrap import bounds, resampled_means
from visionflow.evaluation.answers import Naming, naming
from visionflow.evaluation.batches import batches_of, inputs_of, relevant_tokens
from visionflow.evaluation.flow_runs import analyse, first_answer_tokens
from visionflow.evaluation.records import Records
from visionflow.evaluation.samples import Sample
from visionflow.evaluation.suites import suite_called
from visionflow.flow import logit_lens, picture_attention, sinks, value_norms, withhold
from visionflow.loading.models import Loaded, load_model
from visionflow.report.figures.plotting import BLUE, VERMILION, legend_above, line_with_band, new_figure, save, tidy

TASKS = ("choice", "science", "existence", "open")
COLUMNS = {
    "answer_on_top": "answer is the likeliest token after the layer (logit lens)",
    "image_mass_last": "attention of the last prompt token that goes to the image",
    "image_mass_question": "attention of the question that goes to the image",
    "tokens_for_90": "image tokens that hold 90 % of the former",
    "relevant_share": "share of it on the patches that the answer rests on",
    "sinks": "sinks among the image tokens",
    "sink_share": "share of the picture's attention that sinks receive",
}


def visual(loaded: Loaded, samples: Sequence[Sample]) -> list[Sample]:
    """The samples that are answered rightly with the picture and wrongly without."""
    records = analyse(loaded, samples, lambda loaded, inputs, targets: [{} for _ in targets], Records(), batch=16)
    return [sample for sample, record in zip(samples, records, strict=True) if record["rows"]["flow"] is not None]


@torch.inference_mode()
def looked_at(loaded: Loaded, samples: Sequence[Sample]) -> dict[str, Tensor]:
    """Each of `COLUMNS` for a batch, fp32 ``[samples, layers]``."""
    inputs = inputs_of(loaded, samples)
    targets = first_answer_tokens(loaded, samples, inputs)
    lens = logit_lens(loaded.model, inputs, top=1)
    last = picture_attention(loaded.model, inputs, rows="last")
    question = picture_attention(loaded.model, inputs, rows="instruction")
    read = torch.stack(last.image)
    shares = read / read.sum(2, keepdim=True)
    held = shares.sort(dim=2, descending=True).values.cumsum(2)
    relevant = relevant_tokens(loaded.model, samples)
    assert relevant is not None  # the generated world knows
    found = sinks(value_norms(loaded.model, inputs))
    return {
        "answer_on_top": (lens.ids[:, 1:, 0] == targets[:, None]).float(),
        "image_mass_last": last.image_mass,
        "image_mass_question": question.image_mass,
        "tokens_for_90": (held < 0.9).sum(2).float() + 1,
        "relevant_share": (shares * relevant[:, None]).sum(2),
        "sinks": torch.tensor([[float(len(columns)) for columns in sample] for sample in found.columns]),
        "sink_share": found.shares.nan_to_num(),
    }


@torch.inference_mode()
def captions_without(loaded: Loaded, samples: Sequence[Sample], layers: Sequence[int]) -> list[Naming]:
    """What each caption names when its words do not see the image in `layers`; the prompt does."""
    named = []
    for several in batches_of(samples, 16):
        inputs = inputs_of(loaded, several)
        with withhold(loaded.model, layers):
            out = loaded.model.generate(**inputs, max_new_tokens=96, do_sample=False)
        said = loaded.processor.tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        named += [naming(caption, sample.objects) for sample, caption in zip(several, said, strict=True)]
    return named


def main(
    limit: Annotated[int, typer.Option(help="Questions, spread over choice, science, existence and open.")] = 200,
    captions: Annotated[int, typer.Option(help="Pictures to describe with the image withheld.")] = 100,
    out: Annotated[Path, typer.Option(help="Folder for the data and the figure.")] = Path("runs/lenses"),
    model: Annotated[
        str | None, typer.Option(help="A saved model of one size of pictures.", show_default="embedded")
    ] = None,
) -> None:
    """Logit lens, attention over the picture, sinks, and captions with the picture taken out of the cache."""
    out.mkdir(parents=True, exist_ok=True)
    loaded = load_model(model, "float32", "cpu")
    suite = suite_called("scenes")
    samples = visual(loaded, suite.samples(limit, TASKS))
    parts = [looked_at(loaded, several) for several in batches_of(samples, 8)]
    of = {name: torch.cat([part[name] for part in parts]).double().numpy() for name in COLUMNS}
    depth = of["sinks"].shape[1]
    half = depth // 2
    asked = suite.samples(captions, ["caption"])
    ranges = {"none": [], "first half": range(half), "last half": range(half, depth), "all": range(depth)}
    named = {name: captions_without(loaded, asked, layers) for name, layers in ranges.items()}
    rows = [{name: estimate(of[name][:, layer]) for name in COLUMNS} for layer in range(depth)]
    found = {
        "samples": len(samples),
        "layers": [{"layer": layer} | row for layer, row in enumerate(rows)],
        "asked": [
            {"task": sample.task, "kind": sample.kind, "form": sample.form, "answer_on_top": on_top.tolist()}
            for sample, on_top in zip(samples, of["answer_on_top"], strict=True)
        ],
        "captions": {
            "pictures": captions,
            "naming_exactly_what_is_there_with_keys_withheld_in": {
                name: sum(each.exact for each in several) for name, several in named.items()
            },
            "naming_every_object_with_keys_withheld_in": {
                name: sum(each.every for each in several) for name, several in named.items()
            },
            "f1_with_keys_withheld_in": {
                name: round(fmean(each.f1 for each in several), 3) for name, several in named.items()
            },
        },
    }
    (out / "lenses.json").write_text(json.dumps(found, indent=2) + "\n")
    draw(found, out / "lenses.png")
    show(found)


def estimate(values: NDArray[np.float64]) -> dict[str, float]:
    """The mean over samples with its 95 % bootstrap interval."""
    low, high = bounds(resampled_means(values[None], seed=0)[0])
    return {"value": round(float(values.mean()), 4), "low": round(low, 4), "high": round(high, 4)}


def draw(found: dict[str, Any], path: Path) -> None:
    """One panel per question that the lenses answer."""
    panels = {
        "Where the answer appears": ("answer_on_top",),
        "How much of the attention goes to the image": ("image_mass_last", "image_mass_question"),
        "On how much of the picture": ("relevant_share", "sink_share"),
    }
    labels = {
        "answer_on_top": "right answer is on top", "image_mass_last": "of the last prompt token",
        "image_mass_question": "of the whole question", "relevant_share": "on the patches the answer rests on",
        "sink_share": "on sinks",
    }  # fmt: skip
    figure = new_figure(13, 3.8)
    layers = [row["layer"] for row in found["layers"]]
    for axis, (title, names) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for name, colour, marker in zip(names, (BLUE, VERMILION), "o^", strict=False):
            values = [row[name] for row in found["layers"]]
            bounds = [(each["low"], each["high"]) for each in values]
            line_with_band(axis, layers, [each["value"] for each in values], bounds, colour, marker, labels[name])
        axis.set_title(title)
        axis.set_xlabel("decoder layer")
        axis.set_ylim(-0.03, 1.03)
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        legend_above(axis)
        tidy(axis)
    figure.suptitle(f"{found['samples']} questions of scenes, embedded model, 95 % intervals", fontsize=9)
    save(figure, path)


def show(found: dict[str, Any]) -> None:
    """The table, and what its columns are."""
    console = Console(width=200, highlight=False)
    table = Table("layer", *COLUMNS)
    for row in found["layers"]:
        table.add_row(
            str(row["layer"]), *("{value:.3g} [{low:.3g}, {high:.3g}]".format(**row[name]) for name in COLUMNS)
        )
    console.print(f"{found['samples']} questions that need the picture")
    console.print(table)
    for name, says in COLUMNS.items():
        console.print(f"{name}: {says}")
    console.print(f"captions: {found['captions']}")


if __name__ == "__main__":
    typer.run(main)
