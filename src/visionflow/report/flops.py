"""The cost of one prompt, and the paper's tables, for people and for programs."""

from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console

from visionflow.cost.conventions import COUNTS, UNITS
from visionflow.cost.model import Cost
from visionflow.cost.visipruner import Accounting
from visionflow.papers import HIMAP_TABLES
from visionflow.report.numbers import SI, amount, layer_runs, percent, unit_for
from visionflow.report.sheet import Pairs, Sheet

_PAPER_CHARGES = (
    "The paper's 99 % is attention alone, and charges none to the layers up to the one that fires, although those "
    "after the shallow phase compute it."
)


@dataclass(frozen=True)
class Report:
    """One prompt's cost.

    Attributes:
        model: as it was asked for.
        method: its name.
        options: its settings.
        given_image_tokens: of the prompt, before any cut.
        image_tokens: in each layer.
        text_tokens: of the prompt.
        bytes_per_element: of the KV cache.
        costs: one per convention.
        accounting: how the method's own paper counts, where that is none of the conventions.
    """

    model: str
    method: str
    options: dict[str, int | float]
    given_image_tokens: int
    image_tokens: list[int]
    text_tokens: int
    bytes_per_element: int
    costs: list[Cost]
    accounting: Accounting | None = None

    def to_json(self) -> dict[str, Any]:
        """One object, with the figures of the first convention."""
        cost = self.costs[0]
        return {
            "model": self.model,
            "method": self.method,
            "options": self.options,
            "convention": cost.convention,
            "unit": UNITS[cost.convention],
            "dense_tflops": cost.dense / 1e12,
            "pruned_tflops": cost.pruned / 1e12,
            "ratio": cost.ratio,
            "given_image_tokens": self.given_image_tokens,
            "image_tokens": self.image_tokens,
            "average_image_tokens": cost.average_image_tokens,
            "text_tokens": self.text_tokens,
            "kv_bytes_dense": cost.kv_bytes_dense,
            "kv_bytes_pruned": cost.kv_bytes_pruned,
            "papers_accounting": None if self.accounting is None else asdict(self.accounting),
        }

    def show(self, console: Console) -> None:
        """Tokens per layer, cost under each convention, KV cache."""
        cost = self.costs[0]
        settings = " ".join(f"{name}={value}" for name, value in self.options.items())
        console.print(f"{self.model}, method {self.method} {settings}".rstrip())
        console.print(f"Prefill of {self.given_image_tokens} image and {self.text_tokens} text tokens.\n")
        console.print(_stages(self.given_image_tokens, self.image_tokens, cost.average_image_tokens))
        console.print()
        console.print(_costs(self.costs))
        console.print()
        legend: dict[str, str] = {each.convention: COUNTS[each.convention] for each in self.costs}
        legend["KV cache"] = f"image and text tokens of the prompt, {self.bytes_per_element} bytes a number"
        console.print(Pairs(legend))
        if self.accounting:
            console.print("\nVisiPruner's own accounting (appendix M): image tokens, multiply-adds\n")
            console.print(_accounting(self.accounting))
            console.print(f"\n{_PAPER_CHARGES}")


def tables_to_json() -> dict[str, Any]:
    """HiMAP's cost columns, ours, and whether ours follow."""
    return {
        "paper": "HiMAP, Tables 1 and 2",
        "convention": "paper",
        "unit": UNITS["paper"],
        "rows": [
            {
                "table": table.number,
                "model": line.model,
                "method": line.label,
                "printed_tflops": float(line.tera),
                "tflops": line.cost().pruned / 1e12,
                "tflops_follows": line.tera_follows,
                "printed_ratio": float(line.percent) / 100,
                "ratio": line.cost().ratio,
                "ratio_follows": line.percent_follows,
                "reason": line.note(),
            }
            for table in HIMAP_TABLES
            for line in table.lines
        ],
    }


def show_tables(console: Console) -> None:
    """The same for people; a cell that does not follow carries the number of its reason."""
    reasons = list(dict.fromkeys(line.note() for table in HIMAP_TABLES for line in table.lines if line.reason))
    for table in HIMAP_TABLES:
        console.print(f"HiMAP, Table {table.number}: as printed, and ours from the stated setting")
        pairs = ("TFLOPs: printed", "ours"), ("ratio %: printed", "ours")
        sheet = Sheet("model", "method", *pairs, labels=2, left=("ours",), grouped=True)
        for line in table.lines:
            mark = f" [{reasons.index(line.note()) + 1}]" if line.reason else ""
            sheet.add_row(
                line.model,
                line.label,
                line.tera,
                f"{line.cost().pruned / 1e12:.3f}" + ("" if line.tera_follows else mark),
                line.percent,
                f"{100 * line.cost().ratio:.1f}" + ("" if line.percent_follows else mark),
            )
        console.print(sheet)
        console.print()
    console.print("[n]: the printed figure does not follow from the setting that the paper states.")
    console.print(Pairs({f"[{number}]": reason for number, reason in enumerate(reasons, start=1)}))


def _stages(given: int, image_tokens: list[int], average: float) -> Sheet:
    """Runs of layers with the same number of image tokens."""
    full = given or 1
    table = Sheet("layers", "image tokens", "share")
    for layers, count in layer_runs(image_tokens):
        table.add_row(layers, str(count), percent(count / full))
    table.add_row("average", f"{average:.1f}", percent(average / full))
    return table


def _costs(costs: list[Cost]) -> Sheet:
    """Dense, pruned and ratio under each convention, then of the KV cache."""
    table = Sheet("prefill", "dense", "pruned", "ratio")
    for cost in costs:
        size, unit = unit_for(cost.dense, SI)
        table.add_row(
            cost.convention,
            f"{cost.dense / size:.3f} {unit}",
            f"{cost.pruned / size:.3f} {unit}",
            percent(cost.ratio),
        )
    dense_bytes, pruned_bytes = costs[0].kv_bytes_dense, costs[0].kv_bytes_pruned
    ratio = pruned_bytes / dense_bytes if dense_bytes else 1.0
    table.add_row("KV cache", f"{dense_bytes / 2**20:.1f} MiB", f"{pruned_bytes / 2**20:.1f} MiB", percent(ratio))
    return table


def _accounting(accounting: Accounting) -> Sheet:
    """The paper's count beside what is executed."""
    table = Sheet("", "as the paper counts", "executed")
    printed, executed, dense = (
        amount(count, SI, ".3f")
        for count in (accounting.multiply_adds, accounting.multiply_adds_executed, accounting.multiply_adds_dense)
    )
    table.add_row(f"multiply-adds, {dense} dense", printed, executed)
    saved = (accounting.attention_saved, accounting.attention_saved_executed)
    table.add_row("vision-related attention saved", *map(percent, saved))
    return table
