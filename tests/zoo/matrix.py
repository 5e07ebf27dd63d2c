"""Runs every oracle on every family with every method, and writes docs/families.md: ``python -m tests.zoo.matrix``."""

import traceback
from pathlib import Path
from typing import Annotated

import torch
import transformers
import typer
from rich.console import Console
from rich.progress import track
from transformers import PreTrainedConfig

from tests.zoo import OTHER_TEXTS, ZOO, Entry
from tests.zoo.oracles import ORACLES, image_to_image, is_closed, kinds_of, methods_of, never_left_out
from visionflow import UnsupportedModelError
from visionflow.core.depth import listed
from visionflow.cost import DecoderShape
from visionflow.engines.hf.families import FAMILIES, UNSUPPORTED, UNTRIED, Family
from visionflow.engines.hf.layer_kinds import depth_of
from visionflow.engines.hf.tower_table import tower_rows

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
METHODS = ("himap", "fastv", "vtw", "visipruner", "pyramiddrop", "divprune", "visionzip", "merging")

HEAD = """# Which models are supported

Made by `make matrix`: for every class in transformers' image-text-to-text mapping a tiny model of the real
architecture with random weights is built (tests/zoo), and eight oracles are run on it with each method: dropping
nothing changes nothing, dropping equals masking, cached equals uncached, a batch gives each sample what it gets
alone, scores are those of the formulas, the model is restored, FLOPs are those that torch counts, positions are
kept. Where layers have states (convolutions, recurrences), a mask means nothing: there dropping equals running the
layers by hand on the shorter sequence, so that no state has seen a dropped token.
`prune` refuses the other classes with the sentence below. Nothing here was run on released weights.

A row is what was run: a class with one text model, on one attention implementation (scores are compared on eager). A
text model under "also taken" differs in nothing that the runtime sees; llava, llava_next and internvl are run with each
of llama, mistral, qwen2 and qwen3. "yes" is all eight oracles. Scores are compared for HiMAP, FastV and PyramidDrop,
choices for DivPrune (those of VisiPruner and VisionZip have tests of their own). PyramidDrop, DivPrune and VisionZip,
which is run on pictures alone, cut before the first layer; "merging" is a method of the tests that merges image tokens
into evenly spaced ones, before the first layer and once more.
VisiPruner is run with `shallow_image_to_image=True` where it says "yes *", since windows are shorter than a picture or
image tokens read both ways; without it, a picture longer than a window is refused. Where it says "yes **" an indexer
picks what queries read, or convolutions run beside attention: VisiPruner is run without its shallow phase, and flows
that are left out are refused. Layers with a window hold all of the prompt's keys in a scope, so the cache of such a
model may be larger than the dense one's; the cost model counts no windows. Videos of kimi_k25, molmo2 and perception_lm
are known but were not run.

"Tower" says which attention of the vision tower is evidence (VisionZip's `rows`): "cls", what the class token reads of
the patches; "received", what they read of each other; of pictures, not of videos. Scores and keys are compared with the
tower's own eager attention, and the patches of a token with those that its features depend on, in
tests/zoo/test_towers.py. It goes by the tower: LLaVA with SigLIP or Pixtral in CLIP's place has "received" alone. Where
nothing stands, a method that asks for it is refused.

`make test` runs HiMAP on one family of each kind, `make slow` on all, `make matrix` everything.

A family is one entry of `src/visionflow/engines/hf/family_table.py` and one of `tests/zoo`.

"""


ROWS: dict[str, Entry] = {name: ZOO[name] for name in sorted(FAMILIES.keys() & ZOO.keys())} | OTHER_TEXTS
"""What is run: every family of the zoo, some of them with another text model as well."""


def failures(entry: Entry) -> dict[str, list[str]]:
    """By method, the oracles that do not hold."""
    found: dict[str, list[str]] = {}
    for method in methods_of(entry):
        found[method.name] = []
        for title, oracle in ORACLES.items():
            try:
                oracle(entry, method)
            except Exception as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                where = f"{Path(place.filename).name}:{place.lineno}"
                found[method.name].append(f"{title}: {type(error).__name__} at {where}")
    return found


def page(results: dict[str, dict[str, list[str]]]) -> str:
    """The page, in Markdown, of what was found in each of `ROWS`."""
    broken = {ROWS[name].model_type for name, found in results.items() if any(found.values())}
    classes = {ROWS[name].model_type for name in results}
    lines = [
        f"{len(classes - broken)} of {len(classes) + len(UNSUPPORTED)} classes pass everything.",
        "",
        f"| model type | text model | attention | {' | '.join(METHODS)} | FLOPs | Tower | also taken | note |",
        "|---|---|---|" + "---|" * (len(METHODS) + 4),
    ]
    lines += [_row(ROWS[name], results[name]) for name in sorted(results)]
    lines += ["", *_states(), ""]
    lines += ["| model type | why it is refused |", "|---|---|"]
    lines += [f"| {name} | {UNSUPPORTED[name]} |" for name in sorted(UNSUPPORTED)]
    lines += ["", "Of a newer transformers than was run here, and refused as well:", ""]
    lines += ["| model type | why it is refused |", "|---|---|"]
    lines += [f"| {name} | {UNTRIED[name]} |" for name in sorted(UNTRIED)]
    return HEAD + "\n".join(lines) + "\n"


STATES = """Where some layers do not attend, VTW, RandomPruning and what goes by features cut before any layer; a look
at attention is possible in attending layers only: defaults go to the nearest, and what was said is refused with those
that are possible. The layers are those of each class's own default configuration. Refused by name on all of these:
VisiPruner and AutoPrune, which look at layer after layer; flows blocked, keys withheld and analyses of attention in
layers that have none; and, in a later turn on the same cache, pictures after which the samples of a batch are left with
different lengths, since what fills up the shorter ones would make their states decay.
"""


def _states() -> list[str]:
    """What is special about families with layers that do not attend, or have states."""
    lines = [
        STATES,
        "| model type | of its layers attend | cuts on attention before | also refused |",
        "|---|---|---|---|",
    ]
    for name, entry in sorted(ROWS.items()):
        if all(kind.attends and not kind.mixes for kind in kinds_of(entry)):
            continue
        depth, family = depth_of(_own_config(entry)), FAMILIES[entry.model_type]
        ran = [layer + 1 for layer in depth.attending if layer + 1 < depth]
        leaks = [f"`{leak}=True` where samples are left with different lengths" for leak in family.leaks]
        cells = [name, f"{len(depth.attending)} of {depth}", listed(ran), "; ".join(leaks)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _own_config(entry: Entry) -> PreTrainedConfig:
    """The default configuration of its text model; the tiny one where it has none."""
    tiny = entry.config().get_text_config()
    try:
        return type(tiny)()
    except Exception:  # each class has its own reason
        return tiny


def _row(entry: Entry, found: dict[str, list[str]]) -> str:
    family, config = FAMILIES[entry.model_type], entry.config()
    own = config.get_text_config().model_type
    run = {
        other.config().get_text_config().model_type for other in ROWS.values() if other.model_type == entry.model_type
    }
    cells = [
        entry.model_type, own, entry.attention, *(_cell(entry, name, found) for name in METHODS),
        "yes" if _is_modelled(config) else "", ", ".join(tower_rows(config)),
        ", ".join(text for text in family.text_types if text not in run), _note(entry, family),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _cell(entry: Entry, name: str, found: dict[str, list[str]]) -> str:
    if name not in found:
        return "refused"
    if name != "visipruner":
        return "; ".join(found[name]) or "yes"
    return "; ".join(found[name]) or (
        "yes **" if never_left_out(entry) else "yes *" if image_to_image(entry) else "yes"
    )


def _is_modelled(config: PreTrainedConfig) -> bool:
    try:
        DecoderShape.from_config(config)
    except UnsupportedModelError:
        return False
    return True


def _note(entry: Entry, family: Family) -> str:
    notes = [entry.note or entry.traits.note]
    if is_closed(entry):
        notes = ["late layers read the keys of earlier ones: cuts before these, at given layers"]
    if not entry.batches:
        notes.append("transformers itself mixes the pictures of a batch: batches of one")
    return "; ".join(filter(None, notes))


def main(
    families: Annotated[list[str] | None, typer.Argument(help="Of these families only; all by default.")] = None,
    write: Annotated[bool, typer.Option(help="Write docs/families.md, where all families were run.")] = True,
) -> None:
    """Run every oracle on every family with every method; ends with 1 where something does not hold."""
    torch.set_num_threads(1)
    console = Console(stderr=True)
    chosen = [name for name, entry in ROWS.items() if not families or entry.model_type in families]
    results = {name: failures(ROWS[name]) for name in track(chosen, "families", console=console)}
    broken = {name: found for name, found in results.items() if any(found.values())}
    for name, found in broken.items():
        console.print(name, found)
    print(f"transformers {transformers.__version__}: {len(results) - len(broken)} of {len(results)} rows pass")
    if write and not families:
        PAGE.write_text(page(results), encoding="utf-8")
    raise typer.Exit(int(bool(broken)))


if __name__ == "__main__":
    typer.run(main)
