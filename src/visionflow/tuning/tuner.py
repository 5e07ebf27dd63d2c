"""`tune`: a schedule for a model under a budget, found on its own prompts, without labels."""

import math
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from visionflow.engines.hf.encoded_once import encoded_once
from visionflow.engines.hf.families import check_head, family_of
from visionflow.errors import VisionFlowError
from visionflow.methods.plan_file import PlanFile
from visionflow.methods.schedule import Schedule, Step
from visionflow.tuning.answered import Answered, Prompts, checked, tokens_of
from visionflow.tuning.measurements import Measurements
from visionflow.tuning.price import COUNTS, CostName, Price, price_of
from visionflow.tuning.progress import OnStep, silent
from visionflow.tuning.search import Found, Search
from visionflow.tuning.space import TRIED, Space

NEW_TOKENS = 32
MINUTES = 10.0


@dataclass(frozen=True)
class Row:
    """A schedule that was measured.

    Attributes:
        method: it.
        cost: its share of dense.
        kl: on the prompts of the search.
        validation: on the other prompts; None where it was none of the best.
    """

    method: Schedule
    cost: float
    kl: float
    validation: float | None = None


@dataclass(frozen=True)
class Tuned:
    """What `tune` has found.

    Attributes:
        method: the schedule, for `prune` and every ``--method``.
        kl: KL(dense || pruned) on the prompts it was validated on, in nats an answer; on those of the search if the
            time was up before that (`validated`).
        validated: whether `kl` is of the other prompts.
        cost: its share of the dense run, at most the budget.
        cost_name: of what: "flops", "paper", "gated", "kv" or "time".
        budget: the share that was asked for.
        table: single cuts, as measured on the prompts of the search.
        schedules: those within the budget that were measured, the best first.
        prompts: how many it was searched on, and validated on.
        along: answers were read together with their prompts.
        stopped: "done", "out of time", or "interrupted".
        note: what else is to be said, such as that time was measured; mostly empty.
        plan: what `save` writes.
    """

    method: Schedule
    kl: float
    validated: bool
    cost: float
    cost_name: CostName
    budget: float
    table: list[Row]
    schedules: list[Row]
    prompts: tuple[int, int]
    along: bool
    stopped: str
    note: str
    plan: PlanFile = field(repr=False)

    def save(self, path: str | Path) -> None:
        """Write the plan file, which `visionflow.method`, every ``--method`` and the server take.

        Raises:
            VisionFlowError: it cannot be written.
        """
        self.plan.write(Path(path))

    def to_json(self) -> dict[str, Any]:
        """All of it as one object."""
        searched, validated = self.prompts
        return {
            "method": self.method.spec,
            "budget": self.budget,
            "cost": self.cost,
            "cost_of": COUNTS[self.cost_name],
            "kl": self.kl,
            "validated": self.validated,
            "prompts": {"tuning": searched, "validation": validated},
            "answers_read_along": self.along,
            "stopped": self.stopped,
            "note": self.note,
            "table": [_told(row) for row in self.table],
            "schedules": [_told(row) for row in self.schedules],
        }


def tune(
    model: PreTrainedModel,
    prompts: Iterable[Prompts],
    budget: float,
    *,
    validation: Iterable[Prompts] | None = None,
    cost: CostName | None = None,
    minutes: float = MINUTES,
    choices: Sequence[str] = TRIED,
    new_tokens: int = NEW_TOKENS,
    known: Measurements | None = None,
    on_step: OnStep = silent,
) -> Tuned:
    """The schedule within a budget that leaves a model's answers nearest to its dense ones.

    ::

        found = tune(model, batches, budget=0.33)   # batches of prompts, as the processor makes them
        found.method, found.kl, found.cost
        found.save("plan.json")                      # visionflow ask --method plan.json ...

    No labels are needed: measured is KL(dense || pruned) over the tokens that the dense model answers with. Single cuts
    are measured first, then two cuts for each choice as one would set them by hand, schedules of up to three cuts whose
    KL adds up to the least, and neighbours of the best; the best few are measured on other prompts, and what is best
    there is taken. Ctrl-C keeps the best so far.

    Args:
        model: a supported model with its head.
        prompts: batches as the processor gives them, padded on the left; some dozens of prompts are enough.
        budget: share of the dense run, above 0 and below 1.
        validation: other prompts; every third batch of `prompts` by default.
        cost: "flops" of the prefill (all prompt tokens and probes, without vision tower and answer), "paper" or "gated"
            for multiply-adds of the image tokens alone, "kv" for bytes of the prompt's cache, "time" for measured time;
            by default FLOPs, or time where these are not modelled.
        minutes: after which the best so far is taken.
        choices: on what cuts are tried, see `visionflow.methods.schedule.CHOICES`.
        new_tokens: length of the dense model's answers, at most.
        known: what has been measured before on the same model and prompts; it grows.
        on_step: told after each step, see `visionflow.tuning.progress`.

    Raises:
        UnsupportedModelError: the model is not supported, or has no head.
        VisionFlowError: a value is out of range, there are too few prompts, or no schedule is within the budget.
    """
    began = time.monotonic()
    check_head(model)
    if not 0 < budget < 1:
        raise VisionFlowError(f"the budget is a share of the dense run, above 0 and below 1, not {budget}")
    if not minutes > 0:
        raise VisionFlowError(f"the minutes must be more than none, not {minutes}")
    searched, other = _parts(checked(prompts, "tuning"), validation)
    for batch in (*searched, *other):
        if not any(tokens_of(model, batch).image.counts):
            raise VisionFlowError("tuning needs prompts with pictures, and a batch has none: leave it out")
    space = Space.of(model, choices)
    price, note = price_of(model, searched, cost)
    known = Measurements() if known is None else known
    with encoded_once(model) if price.name != "time" else nullcontext():  # the tower has its part of measured time
        answered = _answered(model, [*searched, *other], new_tokens, on_step)
        mine, theirs = answered[: len(searched)], answered[len(searched) :]
        left = minutes * 60 - (time.monotonic() - began)
        found = Search(model, space, price, budget, mine, theirs, known, left, on_step).run()
    return _tuned(model, found, price, budget, (mine, theirs), note)


def _parts(batches: list[Prompts], validation: Iterable[Prompts] | None) -> tuple[list[Prompts], list[Prompts]]:
    """The batches of the search, and those that the best are validated on."""
    if validation is not None:
        return batches, checked(validation, "validation")
    if len(batches) < 2:
        raise VisionFlowError("what is tuned has to be validated on other prompts: give two batches or more")
    return [each for n, each in enumerate(batches) if n % 3 != 1], batches[1::3]


def _answered(model: PreTrainedModel, batches: Sequence[Prompts], new_tokens: int, on_step: OnStep) -> list[Answered]:
    found = []
    for done, batch in enumerate(batches, start=1):
        found.append(Answered.of(model, batch, new_tokens))
        on_step("dense answers", done, len(batches))
    return found


def _tuned(
    model: PreTrainedModel,
    found: Found,
    price: Price,
    budget: float,
    parts: tuple[Sequence[Answered], Sequence[Answered]],
    note: str,
) -> Tuned:
    best = found.best
    if best is None:
        raise VisionFlowError(_nothing(found, price, budget))
    depth = len(family_of(model).layers_of(model))
    ranked = sorted(found.tuning, key=lambda each: (found.validation.get(each, math.inf), found.tuning[each]))
    return Tuned(
        method=best,
        kl=found.validation.get(best, found.tuning[best]),
        validated=best in found.validation,
        cost=price.share(best),
        cost_name=price.name,
        budget=budget,
        table=[Row(_alone(step), price.guess(step), kl) for step, kl in found.table.items()],
        schedules=[Row(each, price.share(each), found.tuning[each], found.validation.get(each)) for each in ranked],
        prompts=(_count(parts[0]), _count(parts[1])),
        along=all(each.along for part in parts for each in part),
        stopped=found.stopped,
        note=note,
        plan=PlanFile.of(best, depth, model.config.model_type),
    )


def _nothing(found: Found, price: Price, budget: float) -> str:
    if found.stopped != "done":
        return f"the search was {found.stopped} before a schedule was measured: give it more minutes, or fewer prompts"
    least = min((price.guess(step) for step in found.table), default=1.0)
    return (
        f"no schedule is within a budget of {budget:g}: a single cut costs {least:.3f} of dense at least, the text has "
        "its share; raise the budget"
    )


def _alone(step: Step) -> Schedule:
    return Schedule((str(step),))


def _count(part: Sequence[Answered]) -> int:
    return sum(len(each.answer) for each in part)


def _told(row: Row) -> dict[str, Any]:
    return {"method": row.method.spec, "cost": row.cost, "kl": row.kl, "validation": row.validation}
