"""What `visionflow eval` found out, for people and for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from visionflow.evaluation.intervals import Interval
from visionflow.evaluation.pairs import Metric, Pair
from visionflow.evaluation.run import Run
from visionflow.evaluation.scores import Confusion
from visionflow.evaluation.summary import POPE_METRICS, Figure, Line, TaskSummary, to_json
from visionflow.report.figures.curve import draw_curve, points
from visionflow.report.numbers import NOT_MODELLED, SI, amount, bracketed, percent
from visionflow.report.paper_tables import paper_tables
from visionflow.report.sheet import Pairs, Sheet

CURVE = "curve.png"
_TITLES: dict[Metric, str] = {
    "accuracy": "accuracy %",
    "cider": "CIDEr",
    "exact": "exact %",
    "f1": "F1 %",
    "names_every": "names all %",
}

LEGEND = {
    "paper": "multiply-adds of the image tokens (HiMAP eq. 10), mean per question, and the ratio to dense",
    "FLOPs": "true FLOPs of the whole prefill, probes included, mean per question, and the ratio to dense",
    "end, average": "image tokens in the last layer, and averaged over the layers",
    "relevant": "of the image tokens that the answer rests on, the share kept to the end",
    "exact": "captions that name every object as often as it is there, and nothing else: these are right",
    "F1": "of the objects that a caption names against those that are there, repeats counted; mean per caption",
    "names all": "captions that name every object, whatever they name besides: nothing is held against them",
    "[low, high]": "95 % intervals: Wilson's of shares, the bootstrap's of CIDEr, F1 and, paired, of differences",
    "p": "McNemar's exact test against dense",
    "p Holm": "p corrected for the number of pairs by Holm's rule; the interval beside it is Bonferroni's",
    "lost, blind": "questions that only dense answers rightly; those of them where a relevant image token was dropped",
}


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
        content |= {"missing": dict(self.run.missing)} if self.run.missing else {}
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
        if self.run.missing:
            console.print("\nNot in the table")
            console.print(Pairs(self.run.missing))
        if self.out:
            where = f"The records are in {self.out}" + f", the curve in {self.out / CURVE}" * self.sweep
            console.print(f"\n{where}", soft_wrap=True)  # a path that is cut cannot be copied
        elif self.sweep:
            console.print("\nThe curve was not drawn: give it a folder with --out")


def show(tables: Sequence[TaskSummary], settings: Mapping[str, str], console: Console) -> None:
    """A table per task and metric, POPE's metrics where there are any, and what the names stand for."""
    for table in tables:
        left_out = f", {table.filtered} left out: answered rightly without the image" if table.filtered else ""
        console.print(f"{table.task}: {table.questions} question{'s' * (table.questions != 1)}{left_out}")
        for metric in table.lines[0].figures if table.lines else ():
            console.print(_task_table(table.lines, metric))
            console.print()
        if table.lines:
            console.print(_kinds_table(table.lines))
            console.print()
        for metric in dict.fromkeys(pair.metric for pair in table.pairs):
            several = [pair for pair in table.pairs if pair.metric == metric]
            console.print(f"{_TITLES[metric]}, each row against others, corrected for {len(several)} pairs")
            console.print(_pairs_table(several))
            console.print()
        if table.lines and table.lines[0].pope:
            console.print("POPE's metrics, per sampling")
            console.print(_pope_table(table.lines))
            console.print()
    console.print(Pairs(settings))
    console.print()
    console.print(Pairs(LEGEND))


def _task_table(lines: Sequence[Line], metric: Metric) -> Sheet:
    table = Sheet(
        "row",
        ("paper", ""),
        ("FLOPs", ""),
        "end",
        "average",
        "relevant",
        (_TITLES[metric], ""),
        ("difference", ""),
        "p",
    )
    for line in lines:
        spent = line.spent
        table.add_row(
            line.row,
            _operations(spent.paper),
            percent(spent.paper_ratio),
            _operations(spent.flops),
            percent(spent.flops_ratio),
            f"{spent.image_tokens_at_end:.1f}",
            f"{spent.image_tokens_on_average:.1f}",
            percent(spent.relevant_kept),
            *_cells(metric, line.figures[metric]),
        )
    return table


def _cells(metric: Metric, figure: Figure) -> tuple[str, ...]:
    """Value and difference, each with its interval, and p."""
    scale, places = (1.0, 2) if metric == "cider" else (100.0, 1)
    return (
        f"{scale * figure.value:.{places}f}",
        _interval(figure.interval, scale, places),
        "" if figure.difference is None else f"{scale * figure.difference:+.{places}f}",
        _interval(figure.difference_interval, scale, places, "+"),
        "" if figure.test is None else f"{figure.test.p_value:.3f}",
    )


def _kinds_table(lines: Sequence[Line]) -> Sheet:
    table = Sheet("right %, by kind", *lines[0].kinds, "lost", "blind")
    for line in lines:
        shares = (f"{100 * share:.1f}" for share in line.kinds.values())
        table.add_row(
            line.row, *shares, str(line.lost.questions), "-" if line.lost.blind is None else str(line.lost.blind)
        )
    return table


def _pairs_table(several: Sequence[Pair]) -> Sheet:
    """A row for each pair of one metric, those against the same one together."""
    table = Sheet("against", "row", ("difference", ""), "p", "p Holm", labels=2, grouped=True)
    for pair in several:
        table.add_row(
            pair.against,
            pair.row,
            f"{100 * pair.difference:+.1f}",
            _interval(pair.interval, 100, 1, "+"),
            f"{pair.p_value:.4f}",
            f"{pair.p_holm:.3f}",
        )
    return table


def _pope_table(lines: Sequence[Line]) -> Sheet:
    table = Sheet("sampling", "row", "accuracy", "precision", "recall", "F1", "yes", labels=2, grouped=True)
    for kind in lines[0].pope:
        for line in lines:
            strict, pope = line.pope[kind]["strict"], line.pope[kind]["pope"]
            table.add_row(kind, line.row, *_pope_cells(strict))
            if _pope_cells(strict) != _pope_cells(pope):
                table.add_row(kind, f"{line.row}, POPE's reading", *_pope_cells(pope))
    return table


def _pope_cells(confusion: Confusion) -> list[str]:
    return [percent(getattr(confusion, metric)) for metric in POPE_METRICS]


def _operations(count: float | None) -> str:
    if count is None:
        return NOT_MODELLED
    return amount(count, SI, ".3g") if count else "0"


def _interval(interval: Interval | None, scale: float, places: int, sign: str = "") -> str:
    return "" if interval is None else bracketed(scale * interval.low, scale * interval.high, f"{sign}.{places}f")
