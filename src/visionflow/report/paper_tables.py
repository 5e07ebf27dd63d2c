"""Tables 1 and 2 of the HiMAP paper, as printed and, below, in the same layout, on a suite of ours."""

from collections.abc import Collection, Sequence
from statistics import fmean

from visionflow.errors import VisionFlowError
from visionflow.evaluation.pairs import Metric
from visionflow.evaluation.rows import REFERENCE
from visionflow.evaluation.summary import Figure, Line, Spent, TaskSummary
from visionflow.papers import HIMAP_TABLES, PrintedTable
from visionflow.report.numbers import NOT_MODELLED

METHODS = {
    REFERENCE: "Baseline",
    "fastv": "FastV",
    "himap-paid": "HiMAP (eq. 9 as printed)",
    "himap-received": "HiMAP (as released)",
    "random-steps": "random at HiMAP's steps",
    "oracle": "oracle",
}
"""Our rows, and how the tables call them; the last two are not in the paper."""

CERTAIN = 0.05

_TITLES: dict[Metric, str] = {"accuracy": "accuracy", "cider": "CIDEr", "exact": "exact", "f1": "F1"}


TASKS = (("science", "choice", "existence"), ("caption", "caption", "open", "open"))
"""Our tasks that stand for the data sets of each table, in the same order."""


def check_tasks(tasks: Collection[str]) -> None:
    """Refuse questions of which none is of a task that the tables need.

    Raises:
        VisionFlowError: says which task it is.
    """
    needed = dict.fromkeys(task for tasks in TASKS for task in tasks)
    for task in needed:
        if task not in tasks:
            raise VisionFlowError(
                f"the paper's tables need questions of {', '.join(needed)}, and there is none of {task}: "
                f"raise --limit to {len(needed)} or more"
            )


def paper_tables(reports: Sequence[TaskSummary], model: str = "embedded") -> str:
    """Both tables as Markdown, ours under the name of the `model`.

    Raises:
        VisionFlowError: a task or a row that they need has no questions.
    """
    by_task = {report.task: report for report in reports}
    check_tasks(by_task)
    for report in reports:
        if not report.questions:
            raise VisionFlowError(f"the filter left no question of {report.task}: raise --limit, or leave --filter out")
        if not METHODS.keys() <= {line.row for line in report.lines}:
            raise VisionFlowError(f"the paper's tables need the rows {', '.join(METHODS)}: leave --methods out")
    tables = (
        _printed(table) + "\n\n" + _rebuilt(table.number, [by_task[task] for task in dict.fromkeys(tasks)], model)
        for table, tasks in zip(HIMAP_TABLES, TASKS, strict=True)
    )
    return "\n\n".join(tables) + f"\n\n{_NOTE}"


_NOTE = (
    "Scores in per cent; of captions CIDEr times 100 (five references each), the share that names exactly the objects "
    "that are there, and the F1 of the objects named, repeats counted. Cost: image tokens alone, multiply-adds (the "
    "paper's eq. 10), mean over the tasks of the table. \\*: differs from the baseline (CIDEr and F1: 95 % interval of "
    "the paired bootstrap without 0; else McNemar's exact test, p < 0.05, not corrected for the many comparisons)."
)


def _printed(table: PrintedTable) -> str:
    lines = [_row("Model", "Method", "TFLOPs", "Ratio", *table.columns), _rule(len(table.columns))]
    lines += [_row(each.model, each.name, each.tera, f"{each.percent}%", *each.scores) for each in table.lines]
    return f"**Table {table.number} as printed**\n\n" + "\n".join(lines)


def _rebuilt(number: int, reports: Sequence[TaskSummary], model: str) -> str:
    columns = [
        f"{report.task} ({_TITLES[metric]}, {report.questions})"
        for report in reports
        for metric in _metrics(report.lines[0])
    ]
    lines = [_row("Model", "Method", "MFLOPs", "Ratio", *columns), _rule(len(columns))]
    for row, name in METHODS.items():
        own = [next(line for line in report.lines if line.row == row) for report in reports]
        scores = [_score(line.figures[metric]) for line in own for metric in _metrics(line)]
        lines.append(_row(model, name, *_cost([line.spent for line in own]), *scores))
    return f"**Table {number} on the generated world**\n\n" + "\n".join(lines)


def _cost(spent: Sequence[Spent]) -> tuple[str, str]:
    """Millions of multiply-adds and the ratio to dense, both the mean of the tasks."""
    costs = [each.paper for each in spent if each.paper is not None]
    if len(costs) < len(spent):
        return NOT_MODELLED, "-"
    return f"{fmean(costs) / 1e6:.0f}", f"{fmean(each.paper_ratio or 0.0 for each in spent):.0%}"


def _metrics(line: Line) -> list[Metric]:
    """The metrics that are shown of a task, in the order of the report."""
    return [metric for metric in line.figures if metric in _TITLES]


def _score(figure: Figure) -> str:
    interval = figure.difference_interval
    if figure.test:
        certain = figure.test.p_value < CERTAIN
    else:
        certain = interval is not None and (interval.low > 0 or interval.high < 0)
    return f"{100 * figure.value:.1f}" + ("\\*" if certain else "")


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _rule(columns: int) -> str:
    return _row("---", "---", *["---:"] * (columns + 2))
