"""`visionflow disrupt`: what the answer loses when some tokens may not read some others in some layers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from visionflow.cli.flow_run import All, Asked, Followed, ask
from visionflow.cli.options import (
    MOST_LAYERS,
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
from visionflow.cli.values import numbers, one_of, whole
from visionflow.errors import VisionFlowError

if TYPE_CHECKING:
    from visionflow.evaluation.records import Record
    from visionflow.flow.disruption import Disruption

FIGURES = {"disruptions": "disruption.png", "windows": "shift.png"}
_EDGE, _WIDTH = 5, 2
_GROUPS = ("system", "image", "instruction", "last")


def disrupt(
    suite: SuiteName = "scenes",
    model: Model = "embedded",
    limit: Limit = 200,
    tasks: Followed = None,
    everything: All = False,
    source: Annotated[
        str | None,
        option(
            one_of("source", *_GROUPS),
            "GROUP",
            f"With --layers: tokens not to be read: {', '.join(_GROUPS)}.",
            shown="image",
        ),
    ] = None,
    target: Annotated[
        str | None,
        option(
            one_of("target", *_GROUPS, "random"),
            "GROUP",
            f"With --layers: tokens that may not read them: {', '.join(_GROUPS)}, random.",
            shown="instruction",
        ),
    ] = None,
    layers: Annotated[
        Sequence[int] | None,
        option(
            numbers(0, MOST_LAYERS),
            "0-4,7",
            "Disrupt exactly these layers, once, instead of the paper's two experiments.",
        ),
    ] = None,
    width: Annotated[
        int | None, option(whole(1, MOST_LAYERS), "N", "Layers in a window of figure 5.", shown=str(_WIDTH))
    ] = None,
    edge: Annotated[
        int | None,
        option(
            whole(1, MOST_LAYERS),
            "N",
            "First and last layers of figure 4.",
            shown=f"{_EDGE}, or half of a shallow model",
        ),
    ] = None,
    mode: Annotated[
        str,
        option(
            one_of("mode", "renormalise", "zero"),
            "MODE",
            "renormalise (pairs go before the softmax), or zero (after it; the rest stays as it was).",
        ),
    ] = "renormalise",
    seed: Seed = 0,
    batch: Batch = 8,
    out: Folder = None,
    device: Device = None,
    dtype: Dtype = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Block flows of visual information and see what the answer loses (HiMAP, section 3.2 and 3.3: figures 4 and 5).

    Figure 4: the question, or random tokens, may not read the image in the first or last layers. Figure 5: in every
    window of layers, image tokens may not read each other, or the question not the image: E_vv, E_vt and D. With --out,
    records and figures are kept.
    """
    _check_experiment(layers is not None, {"source": source, "target": target}, {"width": width, "edge": edge})
    asked = ask(suite, model, limit, tasks, everything, batch, out, device, dtype, threads)
    from visionflow.evaluation.flow_runs import disruption_analysis
    from visionflow.flow.disruption import Disruption

    way: Any = mode  # a plain string to typer; a Disruption checks it
    if layers is not None:
        flow: Any = {"source": source or "image", "target": target or "instruction"}
        disruptions = [Disruption(**flow, layers=layers, mode=way, seed=seed if target == "random" else None)]
    else:
        shallow = edge or min(_EDGE, max(1, asked.num_layers // 2))
        disruptions = _papers(asked.num_layers, shallow, width or _WIDTH, way, seed)
    records = asked.run(f"{len(disruptions)} disruptions", disruption_analysis(disruptions), repr(disruptions))
    _tell(asked, records, disruptions, mode, seed, layers is None, as_json)


def _check_experiment(one: bool, of_one: dict[str, Any], of_papers: dict[str, Any]) -> None:
    """Options that would be without effect are refused: `of_one` go with --layers, `of_papers` without."""
    for name, given in (of_papers if one else of_one).items():
        if given is not None:
            where = "beside --layers: leave one of them out" if one else "without --layers: name the layers, too"
            raise VisionFlowError(f"--{name} does nothing {where}")


def _papers(num_layers: int, edge: int, width: int, mode: Any, seed: int) -> "list[Disruption]":
    from visionflow.flow.disruption_sweep import both_flows, first_and_last_layers

    return [*first_and_last_layers(num_layers, edge, seed, mode), *both_flows(num_layers, width, mode=mode)]


def _tell(
    asked: Asked,
    records: "list[Record]",
    disruptions: "list[Disruption]",
    mode: str,
    seed: int,
    figures: bool,
    as_json: bool,
) -> None:
    from visionflow.evaluation.flow_runs import effects_of
    from visionflow.flow.disruption_sweep import flow_shift
    from visionflow.report.figures.flow import draw_disruptions, draw_shift
    from visionflow.report.flow import show_disruptions
    from visionflow.report.sheet import screen

    effects = effects_of(records, disruptions)
    found = asked.describe() | {
        "samples": len(effects[0].jaccard),
        "mode": mode,
        "disruptions": [effect.row(seed) for effect in effects],
        "windows": [shift.row() for shift in flow_shift(effects, seed)],
    }
    if asked.out and figures:
        draw_disruptions(found, asked.out / FIGURES["disruptions"])
        draw_shift(found, asked.out / FIGURES["windows"])
    if as_json:
        print_json(found)
    else:
        console = screen()
        show_disruptions(found, console)
        asked.say_where(console, FIGURES.values() if figures else ())
