"""The paper's figures beside ours: scores with their intervals, and costs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from visionflow.cost import Convention
from visionflow.lmms.harness import Cell
from visionflow.lmms.marks import Estimate, difference, estimate
from visionflow.lmms.reproduction import Reproduction
from visionflow.lmms.tables import Column, TableRow
from visionflow.papers import MODELS, Printed


@dataclass(frozen=True)
class Score:
    """One cell of the table.

    Attributes:
        column: the data set, as printed.
        row: the method.
        task: that lmms-eval ran.
        questions: answered.
        printed: the paper's figure.
        ours: with its 95 % interval.
        difference: ours minus printed.
        printed_change: the paper's figure minus its baseline's; None of the baseline.
        change: the same of ours, over the same questions.
    """

    column: str
    row: str
    task: str
    questions: int
    printed: float
    ours: Estimate
    difference: float
    printed_change: float | None
    change: Estimate | None


@dataclass(frozen=True)
class RowCost:
    """What one row costs: means over all questions, but for times.

    Attributes:
        row: the method.
        settings: the call that makes it.
        printed_tera: the paper's "TFLOPs".
        printed_percent: the paper's "Ratio"; empty where it prints none.
        note: why the printed cost does not follow from the paper's settings; empty where it does.
        convention: the paper's way to count.
        papers: multiply-adds in that convention, and their ratio to dense.
        flops: true FLOPs of the prefill, text and probes included, and their ratio to dense.
        image_tokens: on average over the layers, and in the last.
        seconds_to_first_token: measured; the median.
        tokens_per_second: measured, after the first; the median, None if all answers are one token long.
    """

    row: str
    settings: str
    printed_tera: str
    printed_percent: str
    note: str
    convention: Convention
    papers: tuple[float, float]
    flops: tuple[float, float]
    image_tokens: tuple[float, float]
    seconds_to_first_token: float
    tokens_per_second: float | None


@dataclass(frozen=True)
class Beside:
    """A table of the paper beside ours.

    Attributes:
        beside: the paper's model whose figures stand beside ours.
        same: whether ours is that model.
        scores: column by column.
        spent: row by row.
    """

    beside: str
    same: bool
    scores: list[Score]
    spent: list[RowCost]

    def to_json(self) -> dict[str, Any]:
        """All of it as one object."""
        return asdict(self)


def compare(done: Reproduction, seed: int = 0) -> Beside:
    """The table, all of whose runs are done.

    Raises:
        VisionFlowError: a judge failed, or the runs do not fit together.
    """
    table = done.table
    shape = done.shape()
    model = table.model_of(shape)
    beside = model or next(iter(MODELS))
    cells = {(row, column): _cell(done, row, column) for row in table.rows for column in done.columns}
    scores = [score for column in done.columns for score in _scores(done, beside, column, cells, seed)]
    spent = [
        _spent(
            row,
            str(table.method(row, shape, done.model) or "no pruning"),
            table.printed(beside, row),
            table.convention,
            [cells[row, column] for column in done.columns],
        )
        for row in table.rows
    ]
    return Beside(beside, model is not None, scores, spent)


def _cell(done: Reproduction, row: TableRow, column: Column) -> Cell:
    cell = done.cell(row, column)
    assert cell is not None, "compare is for finished runs"
    return cell


def _scores(
    done: Reproduction, beside: str, column: Column, cells: dict[tuple[TableRow, Column], Cell], seed: int
) -> list[Score]:
    place = done.table.columns.index(column)
    baseline, *_ = done.table.rows
    marks = {row: column.marks(cells[row, column].samples) for row in done.table.rows}

    def printed(row: TableRow) -> float:
        return float(done.table.printed(beside, row).scores[place])

    found = []
    for row in done.table.rows:
        ours = estimate(marks[row], column.total, seed)
        change = None if row == baseline else difference(marks[row], marks[baseline], column.total, seed)
        found.append(
            Score(
                column.title,
                row.title,
                cells[row, column].task,
                len(cells[row, column].samples),
                printed(row),
                ours,
                ours.value - printed(row),
                None if row == baseline else printed(row) - printed(baseline),
                change,
            )
        )
    return found


def _spent(row: TableRow, settings: str, printed: Printed, convention: Convention, cells: Sequence[Cell]) -> RowCost:
    facts = [sample["token_counts"][0] for cell in cells for sample in cell.samples]

    def cost(counted: Convention) -> tuple[float, float]:
        pruned, dense = (fmean(each[counted][place] for each in facts) for place in (0, 1))
        return pruned, pruned / dense if dense else 1.0

    layers = [each["image_tokens"] for each in facts]
    speeds = [each["tokens_per_second"] for each in facts if each["tokens_per_second"] is not None]
    return RowCost(
        row.title,
        settings,
        printed.tera,
        printed.percent,
        printed.note(),
        convention,
        cost(convention),
        cost("flops"),
        (fmean(map(fmean, layers)), fmean(counts[-1] for counts in layers)),
        median(each["seconds_to_first_token"] for each in facts),
        median(speeds) if speeds else None,
    )
