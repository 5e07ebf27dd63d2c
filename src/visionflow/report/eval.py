"""What `visionflow eval` found out, for people and for programs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from visionflow.evaluation.run import Run
from visionflow.evaluation.summary import TaskSummary, to_json
from visionflow.report.eval_tables import show
from visionflow.report.figures.curve import draw_curve, points
from visionflow.report.paper_tables import paper_tables

CURVE = "curve.png"


@dataclass(frozen=True)
class EvalReport:
    """One run, scored.

    Attributes:
        run: its rows and its description.
        tables: per task.
        filtered: whether what is answered rightly without the image was left out.
        sweep: whether the rows are points of a curve.
        out: the folder of the records; None where they are not kept.
    """

    run: Run
    tables: list[TaskSummary]
    filtered: bool
    sweep: bool
    out: Path | None

    def draw(self) -> None:
        """The curve of a sweep, beside the records.

        Raises:
            VisionFlowError: there is nothing to draw, or it cannot be written.
        """
        if self.sweep and self.out:
            draw_curve(self.tables, self.run.rows, self.out / CURVE)

    def to_json(self) -> dict[str, Any]:
        """All of it as one object."""
        content = self.run.described | {"filter": self.filtered, "tables": to_json(self.tables)}
        return content | ({"curve": points(self.tables, self.run.rows)} if self.sweep else {})

    def to_markdown(self) -> str:
        """The paper's tables.

        Raises:
            VisionFlowError: one of their tasks has no questions.
        """
        return paper_tables(self.tables, str(self.run.described["model"]))

    def show(self, console: Console) -> None:
        """The tables, and where the rest is."""
        show(self.tables, {row.name: row.settings for row in self.run.rows}, console)
        if self.out:
            where = f"The records are in {self.out}" + f", the curve in {self.out / CURVE}" * self.sweep
            console.print(f"\n{where}", soft_wrap=True)  # a path that is cut cannot be copied
        elif self.sweep:
            console.print("\nThe curve was not drawn: give it a folder with --out")
