"""Tensor operations of a small LLaVA, dense and pruned: of each decoder layer in the prefill and in a step of decoding.

``make operations`` counts the working tree; ``make operations AT="805db82 here"`` puts it beside a revision and says
where the last of them does more (exit code 1). The counts are the same on every machine.
"""

import json
import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from transformers import PreTrainedModel

from tests.counting import Operations
from tests.house.checkouts import HERE, ROOT, source
from tests.tiny import batch_of, prompt, tiny_llava
from visionflow import VTW, FastV, HiMAP, RandomPruning, VisiPruner, prune

METHODS = (
    HiMAP(2, 0.5, 4, 0.75),
    FastV(2, 0.5),
    VTW(3),
    RandomPruning(2, 0.5),
    VisiPruner(shallow_layers=2, layer_threshold=0.99, token_threshold=1e-3),
)

Passes = dict[str, list[int]]
"""Operations of each pass, a prefill or a step of decoding: before the layers, of each, after them."""


def counts() -> dict[str, Passes]:
    """Of the dense model and of each method, by the package that is imported here."""
    model = tiny_llava(kv_heads=2)
    found = {"dense": _passes(model)}
    for method in METHODS:
        with prune(model, method):
            found[type(method).name] = _passes(model)
    return found


@torch.inference_mode()
def _passes(model: PreTrainedModel) -> Passes:
    """Of one prompt, which needs no mask, and of two that are padded."""
    alone, padded = batch_of([prompt(3, "image", 6)]), batch_of([prompt(3, "image", 6), prompt(9, "image", 12)])
    del alone["attention_mask"]
    found = {}
    for name, inputs in (("one", alone), ("padded", padded)):
        found[f"{name}, prefill"], cache = _counted(model, **inputs)
        step = {"input_ids": torch.full((len(inputs["input_ids"]), 1), 5)}
        if "attention_mask" in inputs:
            mask = inputs["attention_mask"]
            step["attention_mask"] = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        found[f"{name}, token"], _ = _counted(model, **step, past_key_values=cache)
    return found


def _counted(model: PreTrainedModel, **inputs: Any) -> tuple[list[int], Any]:
    """The operations of one pass, part by part, and the cache it leaves."""
    layers = model.model.language_model.layers
    marks = [0]
    with Operations() as operations:
        hooks = [layers[0].register_forward_pre_hook(lambda *_: marks.append(operations.count))]
        hooks += [layer.register_forward_hook(lambda *_: marks.append(operations.count)) for layer in layers]
        out = model(**inputs)
        marks.append(operations.count)
    for hook in hooks:
        hook.remove()
    return [end - start for start, end in pairwise(marks)], out.past_key_values


def counts_of(checkout: str) -> dict[str, Passes]:
    """As `counts`, by the package of a checkout."""
    with source(checkout) as folder:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
        command = [sys.executable, "-m", "tests.house.operations", "--json"]
        done = subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Passes] = json.loads(done.stdout)
    return found


def report(found: Sequence[tuple[str, dict[str, Passes]]]) -> Iterator[str]:
    """One line per row, pass and checkout."""
    width = max(len(checkout) for checkout, _ in found)
    yield f"{'':10} {'':15} {'':{width}} {'all':>5}  before the layers, in each, after them"
    for row, passes in found[-1][1].items():
        for name in passes:
            for checkout, rows in found:
                parts = rows[row][name]
                yield f"{row:10} {name:15} {checkout:{width}} {sum(parts):5}  {' '.join(map(str, parts))}"


def more(found: Sequence[tuple[str, dict[str, Passes]]]) -> list[str]:
    """Where the last checkout runs more operations than the first, in any part of a pass."""
    (_, before), (_, after) = found[0], found[-1]
    return [
        f"{row}, {name}: {sum(before[row][name])} -> {sum(after[row][name])}"
        for row in after
        for name in after[row]
        if any(late > early for early, late in zip(before[row][name], after[row][name], strict=True))
    ]


def main() -> None:
    """Say it of each checkout that is named."""
    parser = ArgumentParser(prog="python -m tests.house.operations", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkouts", nargs="*", default=[HERE], help="a folder, a git revision, or here (the default)")
    parser.add_argument("--json", action="store_true", help="the counts of the package imported here, as JSON")
    given = parser.parse_args()
    if given.json:
        print(json.dumps(counts()))
        return
    found = [(checkout, counts_of(checkout)) for checkout in given.checkouts]
    print("\n".join(report(found)))
    if worse := more(found):
        raise SystemExit(f"{found[-1][0]} does more than {found[0][0]}: {'; '.join(worse)}")


if __name__ == "__main__":
    main()
