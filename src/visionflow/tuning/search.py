"""The search: a table of single cuts, schedules made of them, the most promising measured first, the best validated.

It stops when nothing better has come for a while, when its time is up, or on Ctrl-C: what is best by then is kept.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from transformers import PreTrainedModel

from visionflow.methods.base import Method
from visionflow.methods.schedule import Schedule, Step
from visionflow.tuning.answered import Answered
from visionflow.tuning.measurements import Measurements
from visionflow.tuning.price import Price
from visionflow.tuning.progress import OnStep, silent
from visionflow.tuning.space import Space, cascades, neighbours, schedules

FINALISTS = 6
"""The best on the prompts of the search, which are validated on others."""
_ALIKE = 2
PATIENCE = 24
"""Schedules in a row that are none of the best: then the search stops."""

Phase = Literal["single cuts", "schedules", "neighbours", "validation"]
Thing = TypeVar("Thing")

_UNTIL: dict[Phase, float] = {"single cuts": 0.5, "schedules": 0.7, "neighbours": 0.85, "validation": 1.0}
"""The share of the time by which each phase has to end."""


@dataclass
class Found:
    """What is known so far.

    Attributes:
        table: KL of single cuts, on the prompts of the search.
        tuning: KL of schedules within the budget, on the same prompts.
        validation: of the best of these, on the other prompts.
        stopped: what ended the search: it was "done", "out of time", or "interrupted".
    """

    table: dict[Step, float] = field(default_factory=dict)
    tuning: dict[Schedule, float] = field(default_factory=dict)
    validation: dict[Schedule, float] = field(default_factory=dict)
    stopped: str = "done"

    @property
    def finalists(self) -> list[Schedule]:
        """The best on the prompts of the search, the best first; of those that differ in shares alone two."""
        kinds: Counter[tuple[tuple[int, str], ...]] = Counter()
        found: list[Schedule] = []
        for schedule in sorted(self.tuning, key=lambda each: self.tuning[each]):
            kind = tuple((step.layer, step.choice) for step in schedule.read)
            kinds[kind] += 1
            if kinds[kind] <= _ALIKE:
                found.append(schedule)
        return found[:FINALISTS]

    @property
    def best(self) -> Schedule | None:
        """The best on the other prompts, or, while none is validated, on those of the search; None for none."""
        known = self.validation or self.tuning
        return min(known, key=lambda each: known[each], default=None)


class Search:
    """One search on one model, within one budget."""

    def __init__(
        self,
        model: PreTrainedModel,
        space: Space,
        price: Price,
        budget: float,
        tuning: Sequence[Answered],
        validation: Sequence[Answered],
        known: Measurements,
        seconds: float = math.inf,
        on_step: OnStep = silent,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model, self._space, self._price, self._budget = model, space, price, budget
        self._tuning, self._validation, self._known = tuning, validation, known
        self._seconds, self._on_step, self._clock = seconds, on_step, clock
        self._began = clock()
        self.found = Found()

    def run(self) -> Found:
        """Search until it is done, its time is up, or Ctrl-C is pressed."""
        try:
            self._measure_single_cuts()
            self._measure_schedules()
            self._measure_neighbours()
            self._validate()
        except KeyboardInterrupt:
            self.found.stopped = "interrupted"
        return self.found

    def _measure_single_cuts(self) -> None:
        self._tabulate(self._space.first_cuts())
        self._tabulate(self._space.more_cuts(self.found.table))

    def _tabulate(self, steps: Sequence[Step]) -> None:
        for step in self._in_time("single cuts", steps):
            kl = self._kl(Schedule((str(step),)))
            assert kl is not None
            self.found.table[step] = kl

    def _measure_schedules(self) -> None:
        proposed = cascades(self._space, self._price, self._budget)
        proposed += [steps for _, steps in schedules(self.found.table, self._price, self._budget)]
        in_vain = 0
        for steps in self._in_time("schedules", proposed):
            in_vain = 0 if self._measure(steps) else in_vain + 1
            if in_vain >= PATIENCE:
                break

    def _measure_neighbours(self) -> None:
        """Go from the best to the best of its neighbours, as long as that is better."""
        seen: set[tuple[Step, ...]] = set()
        while (best := self.found.best) is not None:
            around = [each for each in neighbours(best.read, self._space) if each not in seen]
            seen |= {*around}
            for steps in self._in_time("neighbours", around):
                self._measure(steps)
            if self.found.best == best:
                return

    def _validate(self) -> None:
        for schedule in self._in_time("validation", self.found.finalists):
            kl = self._known.kl(self._model, schedule, "validation", self._validation, math.inf)
            assert kl is not None
            self.found.validation[schedule] = kl

    def _measure(self, steps: Iterable[Step]) -> bool:
        """Measure a schedule if it is within the budget; whether it is one of the best."""
        schedule = Schedule(tuple(map(str, steps)))
        if schedule in self.found.tuning or self._price.share(schedule) > self._budget:
            return False
        finalists = self.found.finalists
        hopeless = self.found.tuning[finalists[-1]] if len(finalists) == FINALISTS else math.inf
        kl = self._kl(schedule, hopeless)
        if kl is None:
            return False
        self.found.tuning[schedule] = kl
        return True

    def _kl(self, method: Method, hopeless: float = math.inf) -> float | None:
        return self._known.kl(self._model, method, "tuning", self._tuning, hopeless)

    def _in_time(self, phase: Phase, things: Sequence[Thing]) -> Iterable[Thing]:
        """Each of the things, until the time of the phase is up; one at least, so that there is a result."""
        for done, thing in enumerate(things):
            if done and self._clock() - self._began > _UNTIL[phase] * self._seconds:
                self.found.stopped = "out of time"
                return
            yield thing
            self._on_step(phase, done + 1, len(things))
