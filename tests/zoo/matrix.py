"""Runs every oracle on every family with every method, and writes docs/families.md: ``python -m tests.zoo.matrix``."""

import traceback
from pathlib import Path
from typing import Annotated

import torch
import transformers
import typer
from rich.console import Console
from rich.progress import track

from tests.zoo import ZOO
from tests.zoo.oracles import ORACLES, methods_of
from visionflow.runtime.families import FAMILIES, UNSUPPORTED

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
METHODS = ("himap", "fastv", "vtw", "visipruner")

HEAD = """# Which models are supported

Made by `make matrix`: for every class in transformers' image-text-to-text mapping a tiny model of the real
architecture with random weights is built (tests/zoo), and eight oracles are run on it with each method: dropping
nothing changes nothing, dropping equals masking, cached equals uncached, a batch gives each sample what it gets
alone, scores are those of the formulas, the model is restored, FLOPs are those that torch counts, positions are
kept. `prune` refuses the other classes with the sentence below. Nothing here was run on released weights.

What "yes" leaves out: scores are compared for HiMAP and FastV (VisiPruner's have tests of their own); FLOPs where
the decoder's cost is modelled, which that of experts, shared keys and a few others is not; batches of several
pictures not for hunyuan_vl, in which transformers itself mixes them. VisiPruner is run with
`shallow_image_to_image=True` where windows are shorter than a picture or image tokens read both ways: without it, a
picture longer than a window is refused. Layers with a window hold all of the prompt's keys in a scope, so the cache
of such a model may be larger than the dense one's; the cost model counts no windows. Videos of kimi_k25, molmo2 and
perception_lm are known but were not run.
`make test` runs HiMAP on one family of each kind, `make slow` on all, `make matrix` everything.

A family is one entry of `src/visionflow/runtime/family_table.py` and one of `tests/zoo`.

"""


def failures(name: str) -> dict[str, list[str]]:
    """By method, the oracles that do not hold."""
    found: dict[str, list[str]] = {}
    for method in methods_of(ZOO[name]):
        found[method.name] = []
        for title, oracle in ORACLES.items():
            try:
                oracle(ZOO[name], method)
            except Exception as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                where = f"{Path(place.filename).name}:{place.lineno}"
                found[method.name].append(f"{title}: {type(error).__name__} at {where}")
    return found


def page(results: dict[str, dict[str, list[str]]]) -> str:
    """The page, in Markdown."""
    held = [name for name, found in results.items() if not any(found.values())]
    lines = [
        f"{len(held)} of {len(results) + len(UNSUPPORTED)} classes pass everything.",
        "",
        "| model type | text model | " + " | ".join(METHODS) + " | note |",
        "|---|---|" + "---|" * (len(METHODS) + 1),
    ]
    for name in sorted(results):
        family, found = FAMILIES[name], results[name]
        cells = ["; ".join(found[each]) or "yes" if each in found else "refused" for each in METHODS]
        note = ZOO[name].traits.note
        if family.shares_keys:
            note = "late layers read the keys of earlier ones: cuts before these, at given layers"
        lines.append(f"| {name} | {', '.join(family.text_types)} | {' | '.join(cells)} | {note} |")
    lines += ["", "| model type | why it is refused |", "|---|---|"]
    lines += [f"| {name} | {UNSUPPORTED[name]} |" for name in sorted(UNSUPPORTED)]
    return HEAD + "\n".join(lines) + "\n"


def main(
    families: Annotated[list[str] | None, typer.Argument(help="Of these families only; all by default.")] = None,
    write: Annotated[bool, typer.Option(help="Write docs/families.md, where all families were run.")] = True,
) -> None:
    """Run every oracle on every family with every method; ends with 1 where something does not hold."""
    torch.set_num_threads(1)
    console = Console(stderr=True)
    results = {name: failures(name) for name in track(families or sorted(FAMILIES), "families", console=console)}
    broken = {name: found for name, found in results.items() if any(found.values())}
    for name, found in broken.items():
        console.print(name, found)
    print(f"transformers {transformers.__version__}: {len(results) - len(broken)} of {len(results)} families pass")
    if write and not families:
        PAGE.write_text(page(results), encoding="utf-8")
    raise typer.Exit(int(bool(broken)))


if __name__ == "__main__":
    typer.run(main)
