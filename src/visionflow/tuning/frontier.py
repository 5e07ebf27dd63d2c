"""How near to dense tuned and hand-set schedules are at equal cost, and how often right where that is known."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf
from statistics import mean
from typing import Any

from visionflow.cost.conventions import Convention
from visionflow.engines.hf.encoded_once import encoded_once
from visionflow.engines.hf.families import check_head, family_of
from visionflow.errors import VisionFlowError
from visionflow.evaluation.budget import Budget, budget_of, budget_rows
from visionflow.evaluation.oracle import Oracle
from visionflow.evaluation.records import Records
from visionflow.evaluation.rows import DENSE, REFERENCE, Configuration
from visionflow.evaluation.runner import evaluate
from visionflow.evaluation.samples import Sample
from visionflow.loading.models import Loaded
from visionflow.methods import method
from visionflow.methods.base import Method
from visionflow.tuning.answered import Answered
from visionflow.tuning.measurements import Measurements
from visionflow.tuning.progress import OnStep, silent
from visionflow.tuning.suites import prompts_of

TUNED = "tuned"


@dataclass(frozen=True)
class Asked:
    """One method at one budget.

    Attributes:
        series: what it is a point of: "tuned", or how the method was named.
        budget: the share of dense that it was made to fit; None of one that is taken as it is.
        method: it.
        cost: its share of dense.
    """

    series: str
    budget: float | None
    method: Method
    cost: float


@dataclass(frozen=True)
class Point(Asked):
    """The same, measured.

    Attributes:
        kl: KL(dense || pruned), nats an answer of dense's, the mean over prompts.
        right: the share of right answers; None where they were not asked for.
    """

    kl: float
    right: float | None

    def to_json(self) -> dict[str, Any]:
        """As one object."""
        return asdict(self) | {"method": self.method.spec}


@dataclass(frozen=True)
class Table:
    """What is to be measured, and what is not to be had.

    Attributes:
        rows: the plan files, and the methods at each budget.
        missing: by series and budget, why there is no such row.
        cost: the convention by which budgets and costs are counted.
    """

    rows: list[Asked]
    missing: dict[tuple[str, float], str]
    cost: Convention = "flops"


def table_of(
    loaded: Loaded,
    samples: Sequence[Sample],
    plans: Sequence[str],
    budgets: Sequence[float],
    methods: Sequence[str] = (),
    seed: int = 0,
    cost: Convention = "flops",
) -> Table:
    """Plan files as they are, and at each budget the methods and controls of `visionflow.evaluation.budget`.

    Raises:
        VisionFlowError: the cost of this decoder is not modelled, a method or a plan does not fit the model, or no row
            fits a budget.
    """
    check_head(loaded.model)
    depth, architecture = len(family_of(loaded.model).layers_of(loaded.model)), loaded.model.config.model_type
    shares: list[Budget] = [budget_of(loaded, samples, budget, cost) for budget in budgets]
    rows = [_asked(TUNED, None, method(plan, depth, loaded.name, architecture), shares[0]) for plan in plans]
    missing: dict[tuple[str, float], str] = {}
    for budget in shares:
        fit, unfit = budget_rows(loaded, samples, budget.share, methods, seed, cost)
        # The oracle has no plan before it is told what matters in a batch.
        found = [(row.name, row.method) for row in fit if row.method and not isinstance(row.method, Oracle)]
        rows += [_asked(name, budget.share, each, budget) for name, each in found]
        missing |= {(name, budget.share): why for name, why in unfit.items()}
    if not rows:
        raise VisionFlowError(f"no row fits a budget: {next(iter(missing.values()))}")
    return Table(rows, missing, cost)


def _asked(series: str, share: float | None, found: Method, budget: Budget) -> Asked:
    return Asked(series, share, found, budget.taken(found))


def measure(
    loaded: Loaded,
    samples: Sequence[Sample],
    table: Table,
    known: Measurements,
    *,
    batch: int,
    new_tokens: int,
    records: Records | None = None,
    on_step: OnStep = silent,
) -> tuple[list[Point], float | None]:
    """The points, and the dense model's share of right answers.

    Args:
        loaded: the model.
        samples: prompts that nothing was chosen on.
        table: the methods.
        known: what has been measured; it grows.
        batch: prompts at a time.
        new_tokens: length of dense's answers for the KL, at most.
        records: where answers are kept, if they are to be scored as well; None for KL alone.
        on_step: told after each step, see `visionflow.tuning.progress`.

    Raises:
        VisionFlowError: a prompt is too long, or there is not enough memory.
    """
    prompts = prompts_of(loaded, samples, batch, new_tokens)
    kl: list[float] = []
    with encoded_once(loaded.model):
        answered = [Answered.of(loaded.model, each, new_tokens) for each in prompts]
        for done, row in enumerate(table.rows, start=1):
            kl.append(known.kl(loaded.model, row.method, "validation", answered, inf) or 0.0)
            on_step("KL", done, len(table.rows))
    if records is None:
        return [Point(**vars(row), kl=value, right=None) for row, value in zip(table.rows, kl, strict=True)], None
    told = evaluate(
        loaded,
        samples,
        [DENSE, *configurations(table)],
        records,
        batch,
        lambda task, done: on_step(f"answers, {task}", done, len(samples)),
    )
    right = {name: mean(bool(record["rows"][name]["right"]) for record in told) for name in told[0]["rows"]}
    points = [
        Point(**vars(row), kl=value, right=right[row.method.spec]) for row, value in zip(table.rows, kl, strict=True)
    ]
    return points, right[REFERENCE]


def configurations(table: Table) -> list[Configuration]:
    """The rows as `visionflow.evaluation` has them, each method once."""
    return [Configuration(spec, method) for spec, method in {row.method.spec: row.method for row in table.rows}.items()]
