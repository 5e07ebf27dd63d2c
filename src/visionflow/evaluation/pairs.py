"""Each row against some others on the same questions, corrected for the number of comparisons."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from visionflow.bootstrap import CONFIDENCE
from visionflow.evaluation.intervals import Interval, bootstrap_means, holm, mcnemar, sign_flips

Metric = Literal["accuracy", "cider", "exact", "f1", "names_every"]
"""``exact``, ``f1`` and ``names_every`` are of captions: see `visionflow.evaluation.answers`."""
Scores = NDArray[np.float64]

COMPARED: tuple[Metric, ...] = ("accuracy", "exact", "f1")
"""Metrics in which rows are compared: of captions what they name."""


@dataclass(frozen=True)
class Pair:
    """Two rows in one metric. What is corrected is so for all pairs of that task and metric.

    Attributes:
        row: the one.
        against: the other.
        metric: in which.
        difference: mean of the one less mean of the other.
        interval: of it, of the paired bootstrap, at a confidence of 1 - 0.05 / pairs (Bonferroni).
        p_value: McNemar's exact test, or of F1 that of random signs; not corrected.
        p_holm: the same corrected by Holm's rule.
    """

    row: str
    against: str
    metric: Metric
    difference: float
    interval: Interval | None
    p_value: float
    p_holm: float


def pairs(
    scores: Mapping[str, Mapping[Metric, Scores]], against: Sequence[str], yes_or_no: Set[Metric], seed: int = 0
) -> list[Pair]:
    """Every row against each of `against` that is there, metric by metric; two of these are compared once.

    Args:
        scores: by row and metric, float64 [questions].
        against: rows.
        yes_or_no: metrics of right and wrong answers.
        seed: of the resampling.
    """
    found: list[Pair] = []
    for metric in COMPARED:
        rows = {name: each[metric] for name, each in scores.items() if metric in each}
        others = [name for name in against if name in rows]
        chosen = [(row, other) for place, other in enumerate(others) for row in rows if row not in others[: place + 1]]
        tests = [
            mcnemar(rows[row], rows[other]).p_value if metric in yes_or_no else sign_flips(rows[row], rows[other], seed)
            for row, other in chosen
        ]
        if not chosen:
            continue
        differences = np.stack([rows[row] - rows[other] for row, other in chosen])
        intervals = bootstrap_means(differences, seed, 1 - (1 - CONFIDENCE) / len(chosen))
        found += [
            Pair(row, other, metric, float(rows[row].mean() - rows[other].mean()), interval, p_value, p_holm)
            for (row, other), interval, p_value, p_holm in zip(chosen, intervals, tests, holm(tests), strict=True)
        ]
    return found
