"""What the records of a run say: per task, each row's cost, tokens and scores, and the paired comparison with dense."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any, get_args

import numpy as np

from visionflow.evaluation.answers import YesNoConvention, naming, yes_no
from visionflow.evaluation.captions import cider
from visionflow.evaluation.intervals import Interval, McNemar, bootstrap_means, mcnemar, wilson
from visionflow.evaluation.pairs import Metric, Pair, Scores, pairs
from visionflow.evaluation.records import Record
from visionflow.evaluation.rows import NO_IMAGE, REFERENCE
from visionflow.evaluation.scores import Confusion

YES_OR_NO: frozenset[Metric] = frozenset(("accuracy", "exact", "names_every"))
"""Metrics that a question has or has not; of the others it has more or less."""

POPE_METRICS = ("accuracy", "precision", "recall", "f1", "yes_ratio")


@dataclass(frozen=True)
class Figure:
    """One metric of one row.

    Attributes:
        value: the mean over the questions.
        interval: 95 %: Wilson's of shares, the bootstrap's of CIDEr and F1.
        difference: to the dense row; None in that row.
        difference_interval: 95 %, of the paired bootstrap.
        test: McNemar's; None for CIDEr and F1, and in the dense row.
    """

    value: float
    interval: Interval | None
    difference: float | None
    difference_interval: Interval | None
    test: McNemar | None


@dataclass(frozen=True)
class Spent:
    """What a row costs and what it leaves: means over the questions.

    Attributes:
        paper: multiply-adds of the image tokens (HiMAP eq. 10); None where the cost of the decoder is not modelled.
        paper_ratio: over that of the dense row; None where that is 0, or not modelled.
        flops: true FLOPs of the prefill; None where the cost of the decoder is not modelled.
        flops_ratio: over that of the dense row; None where that is not modelled.
        image_tokens_at_end: image tokens in the last layer.
        image_tokens_on_average: image tokens, averaged over the layers.
        relevant_kept: of the image tokens that the answer rests on, the share kept to the end; over the questions where
            there are such tokens, and None where there are none or nobody knows.
    """

    paper: float | None
    paper_ratio: float | None
    flops: float | None
    flops_ratio: float | None
    image_tokens_at_end: float
    image_tokens_on_average: float
    relevant_kept: float | None


@dataclass(frozen=True)
class Lost:
    """Questions that dense answers rightly and a row does not, and whether dropped evidence can be the reason.

    Attributes:
        questions: how many.
        blind: in how many of them an image token that the answer rests on was dropped; None where nobody knows.
    """

    questions: int
    blind: int | None


@dataclass(frozen=True)
class Line:
    """One row of one task's table.

    Attributes:
        row: its name.
        spent: what it costs.
        figures: its metrics; of captions CIDEr and what they name, of everything else accuracy.
        kinds: the share of right answers by the kind of question.
        lost: what it gets wrong and dense does not.
        pope: of yes/no tasks, per sampling and of "all", the confusion under each convention; else empty.
    """

    row: str
    spent: Spent
    figures: dict[Metric, Figure]
    kinds: dict[str, float]
    lost: Lost
    pope: dict[str, dict[YesNoConvention, Confusion]]


@dataclass(frozen=True)
class TaskSummary:
    """The table of one task.

    Attributes:
        task: its name.
        questions: how many are scored.
        filtered: how many were left out because they are answered rightly without the image.
        lines: one per row, the dense one first.
        pairs: each row against each of some others, corrected for their number; empty where none is asked for.
    """

    task: str
    questions: int
    filtered: int
    lines: list[Line]
    pairs: list[Pair] = field(default_factory=list)


def summarise(
    records: Sequence[Record], seed: int = 0, filtered: bool = False, against: Sequence[str] = ()
) -> list[TaskSummary]:
    """The tables of all tasks.

    Args:
        records: of one run, with the dense row; grouped by task.
        seed: of the bootstrap.
        filtered: leave out what dense answers rightly without the image (HiMAP, appendix B); the run then has to have
            the row "no-image".
        against: rows that every other row is compared with in `TaskSummary.pairs`.

    Raises:
        VisionFlowError: scipy or pycocoevalcap is missing.
    """
    tables = []
    for task, group in groupby(records, key=lambda record: str(record["task"])):
        asked = list(group)
        scored = [record for record in asked if not (filtered and record["rows"][NO_IMAGE]["right"])]
        scores = {name: _scores(scored, name) for name in scored[0]["rows"]} if scored else {}
        lines = _lines(scored, scores, seed) if scored else []
        compared = pairs(scores, against, YES_OR_NO, seed)
        tables.append(TaskSummary(task, len(scored), len(asked) - len(scored), lines, compared))
    return tables


def to_json(tables: Sequence[TaskSummary]) -> dict[str, Any]:
    """The tables by task, each row by its name."""
    return {
        table.task: {
            "questions": table.questions,
            "filtered": table.filtered,
            "rows": {line.row: _line_to_json(line) for line in table.lines},
        }
        | ({"pairs": [asdict(pair) for pair in table.pairs]} if table.pairs else {})
        for table in tables
    }


def _lines(records: Sequence[Record], scores: Mapping[str, dict[Metric, Scores]], seed: int) -> list[Line]:
    dense_spent = _spent(records, REFERENCE, None)
    figures = {
        metric: _figures(metric, {name: each[metric] for name, each in scores.items()}, seed)
        for metric in scores[REFERENCE]
    }
    return [
        Line(
            name,
            _spent(records, name, dense_spent),
            {metric: by_row[name] for metric, by_row in figures.items()},
            _by_kind(records, name),
            _lost(records, name),
            _pope(records, name) if records[0]["form"] == "yes_no" else {},
        )
        for name in scores
    ]


def _scores(records: Sequence[Record], name: str) -> dict[Metric, Scores]:
    """Each metric's score of each question, float64 [questions]."""
    right = np.array([record["rows"][name]["right"] for record in records], dtype=np.float64)
    if records[0]["form"] != "caption":
        return {"accuracy": right}
    captions = [record["rows"][name]["answer"] for record in records]
    named = [naming(caption, record["objects"]) for caption, record in zip(captions, records, strict=True)]
    agreement = cider(captions, [record["gold"] for record in records])
    scores: dict[Metric, Scores] = {} if agreement is None else {"cider": agreement}
    return scores | {
        "exact": right,
        "f1": np.array([each.f1 for each in named]),
        "names_every": np.array([each.every for each in named], dtype=np.float64),
    }


def _figures(metric: Metric, scores: Mapping[str, Scores], seed: int) -> dict[str, Figure]:
    """One metric of all rows, from the scores of each."""
    dense, table, share = scores[REFERENCE], np.stack(list(scores.values())), metric in YES_OR_NO
    alone = [wilson(int(row.sum()), len(row)) for row in table] if share else bootstrap_means(table, seed)
    paired = bootstrap_means(table - dense, seed)
    return {
        name: Figure(
            value=float(row.mean()),
            interval=interval,
            difference=None if name == REFERENCE else float(row.mean() - dense.mean()),
            difference_interval=None if name == REFERENCE else difference,
            test=mcnemar(row, dense) if share and name != REFERENCE else None,
        )
        for (name, row), interval, difference in zip(scores.items(), alone, paired, strict=True)
    }


def _spent(records: Sequence[Record], name: str, dense: Spent | None) -> Spent:
    facts = [record["rows"][name] for record in records]

    def mean(of: Callable[[Mapping[str, Any]], float]) -> float:
        return float(np.mean([of(each) for each in facts]))

    modelled = all(each["flops"] is not None for each in facts)
    paper = mean(lambda each: each["paper"]) if modelled else None
    flops = mean(lambda each: each["flops"]) if modelled else None
    dense_paper, dense_flops = (paper, flops) if dense is None else (dense.paper, dense.flops)
    return Spent(
        paper=paper,
        paper_ratio=paper / dense_paper if paper is not None and dense_paper else None,
        flops=flops,
        flops_ratio=flops / dense_flops if flops is not None and dense_flops else None,
        image_tokens_at_end=mean(lambda each: each["image_tokens"][-1]),
        image_tokens_on_average=mean(lambda each: float(np.mean(each["image_tokens"]))),
        relevant_kept=_relevant_kept(records, name),
    )


def _relevant_kept(records: Sequence[Record], name: str) -> float | None:
    shares = [
        len(set(record["relevant"]) & set(record["rows"][name]["kept"])) / len(record["relevant"])
        for record in records
        if record["relevant"]
    ]
    return float(np.mean(shares)) if shares else None


def _by_kind(records: Sequence[Record], name: str) -> dict[str, float]:
    marks: dict[str, list[bool]] = {}
    for record in records:
        marks.setdefault(record["kind"], []).append(record["rows"][name]["right"])
    return {kind: float(np.mean(each)) for kind, each in sorted(marks.items())}


def _lost(records: Sequence[Record], name: str) -> Lost:
    lost = [each for each in records if each["rows"][REFERENCE]["right"] and not each["rows"][name]["right"]]
    if any(record["relevant"] is None for record in records):
        return Lost(len(lost), None)
    return Lost(len(lost), sum(not set(each["relevant"]) <= set(each["rows"][name]["kept"]) for each in lost))


def _pope(records: Sequence[Record], name: str) -> dict[str, dict[YesNoConvention, Confusion]]:
    kinds: dict[str, list[Record]] = {"all": []}  # the first, and all of them even where a kind is called so
    for record in records:
        kinds.setdefault(record["kind"], []).append(record)
    kinds["all"] = list(records)
    return {kind: _confusions(several, name) for kind, several in kinds.items()}


def _confusions(records: Sequence[Record], name: str) -> dict[YesNoConvention, Confusion]:
    gold = [record["gold"][0] == "yes" for record in records]
    answers = [record["rows"][name]["answer"] for record in records]
    return {
        convention: Confusion.of(gold, [yes_no(answer, convention) for answer in answers])
        for convention in get_args(YesNoConvention)
    }


def _line_to_json(line: Line) -> dict[str, Any]:
    content = asdict(line.spent) | {metric: asdict(figure) for metric, figure in line.figures.items()}
    content |= {"kinds": line.kinds, "lost": asdict(line.lost)}
    if line.pope:
        content["pope"] = {
            kind: {
                convention: {metric: getattr(confusion, metric) for metric in POPE_METRICS}
                for convention, confusion in conventions.items()
            }
            for kind, conventions in line.pope.items()
        }
    return content
