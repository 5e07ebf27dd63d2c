"""What `visionflow tune` found, for people and for programs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from visionflow.methods.schedule import Step
from visionflow.report.numbers import percent
from visionflow.report.sheet import Pairs, Sheet
from visionflow.tuning.price import COUNTS
from visionflow.tuning.tuner import Row, Tuned

_SHOWN = 6
_CHOICES = {
    "text": "that the text after the picture reads most",
    "last": "that the last token of the prompt reads most",
    "image": "that the image tokens read most",
}


@dataclass(frozen=True)
class TuneReport:
    """One search.

    Attributes:
        model: what it is called.
        found: what came of it.
        file: where the plan is.
    """

    model: str
    found: Tuned
    file: Path

    def to_json(self) -> dict[str, Any]:
        """All of it as one object."""
        return {"model": self.model, "plan": str(self.file), **self.found.to_json()}

    def show(self, console: Console) -> None:
        """The schedule, what it is nearest to, and how to use it."""
        found = self.found
        searched, validated = found.prompts
        if found.note:
            console.print(f"{found.note}\n")
        console.print(f"{found.method.spec} for {self.model}: {percent(found.cost)} of the dense run")
        for step in found.method.read:
            console.print(f"  before layer {step.layer} {_told(step)}")
        console.print()
        table = Sheet("schedule", "cost", "KL", "KL, others", left=("schedule",))
        for row in found.schedules[:_SHOWN]:
            table.add_row(*_cells(row))
        console.print(table)
        console.print()
        console.print(
            Pairs(
                {
                    "cost": f"share of dense, {COUNTS[found.cost_name]}; the budget is {percent(found.budget)}",
                    "KL": f"from dense to pruned, nats an answer of dense's own, mean of {searched} prompts "
                    "it was searched on",
                    "KL, others": f"the same on {validated} other prompts, by which the best is chosen",
                    "search": f"{found.stopped}; {len(found.table)} single cuts and {len(found.schedules)} schedules "
                    "measured",
                }
            )
        )
        console.print(f"\nThe plan is in {self.file}: visionflow eval --methods {self.file}", soft_wrap=True)


def _cells(row: Row) -> tuple[str, str, str, str]:
    other = "-" if row.validation is None else f"{row.validation:.4f}"
    return " ".join(row.method.steps), percent(row.cost), f"{row.kl:.4f}", other


def _told(step: Step) -> str:
    if not step.keep:
        return "the picture is withdrawn"
    chosen = _CHOICES.get(step.choice, f"chosen by {step.choice}")
    return f"{percent(step.keep)} of the image tokens stay, {chosen}"
