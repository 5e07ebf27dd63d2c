"""What `visionflow frontier` measured, for people and for programs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from visionflow.cost.conventions import NAMES
from visionflow.report.figures.frontier import draw_frontier
from visionflow.report.numbers import percent
from visionflow.report.sheet import Pairs, Sheet
from visionflow.tuning.frontier import Point, Table
from visionflow.tuning.price import COUNTS

FIGURE = "frontier.png"


@dataclass(frozen=True)
class FrontierReport:
    """Points at equal cost.

    Attributes:
        model: what it is called.
        suite: what was asked.
        prompts: how many.
        table: what was to be measured.
        points: measured.
        dense_right: the dense model's share of right answers; None where it is not known.
        out: the folder of the figure.
    """

    model: str
    suite: str
    prompts: int
    table: Table
    points: list[Point]
    dense_right: float | None
    out: Path

    def draw(self) -> None:
        """The figure, in the folder.

        Raises:
            VisionFlowError: it cannot be written.
        """
        title = f"{self.model}, {self.prompts} prompts of {self.suite}"
        draw_frontier(self.points, self.dense_right, title, NAMES[self.table.cost], self.out / FIGURE)

    def to_json(self) -> dict[str, Any]:
        """All of it as one object."""
        return {
            "model": self.model,
            "suite": self.suite,
            "prompts": self.prompts,
            "cost_of": COUNTS[self.table.cost],
            "dense_right": self.dense_right,
            "points": [point.to_json() for point in self.points],
            "out_of_reach": [
                {"series": name, "budget": budget, "why": why} for (name, budget), why in self.table.missing.items()
            ],
            "figure": str(self.out / FIGURE),
        }

    def show(self, console: Console) -> None:
        """The points from the dearest budget to the cheapest, the nearest to dense first."""
        right = self.dense_right is not None
        sheet = Sheet(
            "budget", "row", "cost", "KL", *(["right"] if right else []), "method", labels=2, left=("method",)
        )
        for point in sorted(self.points, key=lambda each: (-_near(each), each.kl)):
            asked = "-" if point.budget is None else percent(point.budget, 0)
            more = [percent(point.right)] if right else []
            sheet.add_row(asked, point.series, percent(point.cost), f"{point.kl:.4f}", *more, point.method.spec)
        console.print(sheet)
        if right:
            console.print(f"\ndense is right in {percent(self.dense_right)}")
        for (name, budget), why in self.table.missing.items():
            console.print(f"not at {percent(budget, 0)}: {name} ({why})")
        console.print()
        console.print(
            Pairs(
                {
                    "cost": f"share of dense, {COUNTS[self.table.cost]}",
                    "KL": f"from dense to pruned, nats an answer of dense's own, mean of {self.prompts} prompts",
                }
            )
        )
        console.print(f"\nThe figure is in {self.out / FIGURE}", soft_wrap=True)


def _near(point: Point) -> float:
    """The budget that a point belongs to; a plan file's own cost, to the next per cent."""
    return round(point.cost + 0.005, 2) if point.budget is None else point.budget
