"""What `visionflow ask` found out, for people and for programs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from visionflow.answering import Comparison
from visionflow.report.numbers import BYTES, SECONDS, SI, Units, layer_runs, percent, unit_for
from visionflow.report.sheet import Pairs, Sheet

# A difference smaller than this is what the clock of a busy machine gives anyway.
NOTICEABLE = 0.05


@dataclass(frozen=True)
class AskReport:
    """One question, answered twice.

    Attributes:
        images: sources of the pictures, as they were given.
        question: as it was given.
        model: its name, number type and device.
        dtype: its number type.
        device: where it ran.
        method: with its settings.
        note: how the method was chosen; empty where its settings were given.
        comparison: answers, caches, times and the trace.
        patches: per stage and picture, the numbers of the kept patches; None where tokens are not patches of a grid.
        overlay: where the overlay is; None where none was drawn.
        undrawn: why there is none; empty where there is one.
    """

    images: list[str]
    question: str
    model: str
    dtype: str
    device: str
    method: str
    note: str
    comparison: Comparison
    patches: list[list[list[int]]] | None
    overlay: Path | None
    undrawn: str = ""

    def to_json(self) -> dict[str, Any]:
        """All of it as one object; positions are columns of the prompt, patches are counted row by row from 0.

        ``cost`` is None where that of the decoder is not modelled.
        """
        dense, pruned, trace = self.comparison.dense, self.comparison.pruned, self.comparison.trace
        facts = self.comparison.facts
        costs = {
            cost.convention: {"dense": cost.dense, "pruned": cost.pruned, "ratio": cost.ratio}
            for cost in facts.costs.values()
            if cost
        }
        return {
            "image": self.images[0],
            "images": self.images,
            "question": self.question,
            "model": self.model,
            "dtype": self.dtype,
            "device": self.device,
            "method": self.method,
            "dense_answer": dense.answer,
            "pruned_answer": pruned.answer,
            "given_image_tokens": facts.given_image_tokens,
            "image_tokens": facts.image_tokens,
            "text_tokens": int(trace.text_tokens[0]),
            "cost": costs or None,
            "kv_bytes_dense": dense.kv_bytes,
            "kv_bytes_pruned": pruned.kv_bytes,
            "ttft_dense_s": dense.first_token_s,
            "ttft_pruned_s": pruned.first_token_s,
            "attention_pairs": {"dense": len(trace.lengths) * trace.work.given**2, "pruned": sum(trace.work.pairs)},
            "decided": facts.decided,
            "overlay": None if self.overlay is None else str(self.overlay),
            "undrawn": self.undrawn,
            "stages": [
                {"layer": stage.layer, "kept": stage.kept[0].tolist(), "patches": self.patches and self.patches[number]}
                for number, stage in enumerate(trace.stages)
            ],
        }

    def show(self, console: Console) -> None:
        """Answers first, then what they cost."""
        dense, pruned, trace = self.comparison.dense, self.comparison.pruned, self.comparison.trace
        facts = self.comparison.facts
        console.print(f"{self.model} model, {self.dtype} on {self.device}")
        console.print(f"{self.method}{self.note}\n")
        answers = {"dense": dense.answer or "(no text)", "pruned": pruned.answer or "(no text)"}
        console.print(Pairs({"question": self.question} | answers))
        console.print()
        table = Sheet("", "dense", "pruned", "ratio")
        if (flops := facts.costs["flops"]) and (paper := facts.costs["paper"]):
            table.add_row("prefill, all tokens (FLOPs)", *_scaled(flops.dense, flops.pruned, SI))
            table.add_row("prefill, image tokens (multiply-adds, paper)", *_scaled(paper.dense, paper.pruned, SI))
        else:
            table.add_row("prefill, whose cost is not modelled here", "-", "-", "-")
        table.add_row("KV cache of the prompt, measured", *_scaled(dense.kv_bytes, pruned.kv_bytes, BYTES))
        table.add_row("time to first token, measured", *_scaled(dense.first_token_s, pruned.first_token_s, SECONDS))
        console.print(table)
        console.print()
        told = {
            "image tokens": f"{facts.given_image_tokens} given; {layer_ranges(facts.image_tokens)}",
            "kept patches": str(self.overlay or f"not drawn: {self.undrawn}"),
        }
        if facts.decided:
            layers = {name.replace("_", " "): value for name, value in facts.decided.items() if "layer" in name}
            told = {name: "none" if value is None else str(value) for name, value in layers.items()} | told
        console.print(Pairs(told))
        given = facts.given_image_tokens
        if not dense.first_token_s - pruned.first_token_s > NOTICEABLE * dense.first_token_s:
            console.print(
                f"\nPruning is not clearly faster here: with {given} image and {trace.text_tokens[0]} "
                "text tokens on this model, choosing what to drop takes about as much time as it saves, or more. "
                "Longer prompts and larger models gain."
            )


def layer_ranges(counts: list[int]) -> str:
    """Runs of layers with the same count: ``layers 0-1: 144, 2-7: 72, 8-11: 18``."""
    return "layers " + ", ".join(f"{layers}: {count}" for layers, count in layer_runs(counts))


def _scaled(dense: float, pruned: float, units: Units) -> tuple[str, str, str]:
    """Both in the unit that suits the first, and their ratio."""
    size, unit = unit_for(dense, units)
    ratio = percent(pruned / dense if dense else None)
    return f"{dense / size:.2f} {unit}", f"{pruned / size:.2f} {unit}", ratio
