"""`visionflow saliency`: how much each kind of token matters to the answer, layer by layer."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from visionflow.cli.flow_run import All, Asked, Followed, ask
from visionflow.cli.options import (
    Batch,
    Device,
    Dtype,
    Folder,
    Json,
    Limit,
    Model,
    Seed,
    SuiteName,
    Threads,
    option,
)
from visionflow.cli.output import print_json
from visionflow.cli.values import one_of

if TYPE_CHECKING:
    from visionflow.evaluation.records import Record

FIGURES = {"saliency": "saliency.png", "lengths": "lengths.png"}


def saliency(
    suite: SuiteName = "scenes",
    model: Model = "embedded",
    limit: Limit = 200,
    tasks: Followed = None,
    everything: All = False,
    objective: Annotated[
        str,
        option(
            one_of("objective", "loss", "logit", "margin"),
            "NAME",
            "What is differentiated: loss (cross-entropy of the right answer's first token), logit (its logit) or "
            "margin (its lead over the next one). The loss is flat where the model is sure and right.",
        ),
    ] = "loss",
    convention: Annotated[
        str,
        option(
            one_of("convention", "paper", "released"),
            "NAME",
            "paper (eq. 1 to 6), or released: what the authors' script computes.",
        ),
    ] = "paper",
    normalised: Annotated[
        bool, typer.Option("--normalised", help="Let every question weigh the same, however steep its loss.")
    ] = False,
    seed: Seed = 0,
    batch: Batch = 8,
    out: Folder = None,
    device: Device = None,
    dtype: Dtype = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Saliency of system, image and instruction tokens per layer (HiMAP, section 2 and 3.1: figures 2, 3 and 9).

    S_sys, S_img and S_ins: how much the answer hangs on a token of that kind being read, mean per token. S_vv: on image
    tokens reading each other; S_vt: on the instruction reading the image. With --out, records and figures are kept.
    """
    asked = ask(suite, model, limit, tasks, everything, batch, out, device, dtype, threads)
    from visionflow.evaluation.flow_runs import saliency_analysis

    settings = f"saliency, {objective}, {convention}" + ", normalised" * normalised
    # typer hands over plain strings; the options took no others than there are.
    chosen: Any = {"objective": objective, "convention": convention, "normalised": normalised}
    records = asked.run("saliency", saliency_analysis(**chosen), settings)
    _tell(asked, records, chosen, seed, as_json)


def _tell(asked: Asked, records: "list[Record]", chosen: Any, seed: int, as_json: bool) -> None:
    from visionflow.evaluation.flow_runs import lengths_of, profile_of
    from visionflow.report.figures.flow import draw_lengths, draw_saliency
    from visionflow.report.flow import saliency_rows, show_saliency
    from visionflow.report.sheet import screen

    profile = profile_of(records, **chosen)
    lengths = lengths_of(records)
    found = asked.describe() | profile.to_dict() | {"layers": saliency_rows(profile, seed), "lengths": lengths}
    if asked.out:
        draw_saliency(found, asked.out / FIGURES["saliency"])
        draw_lengths(found, asked.out / FIGURES["lengths"])
    if as_json:
        print_json(found)
    else:
        console = screen()
        show_saliency(found, console)
        asked.say_where(console, FIGURES.values())
