"""Where cuts may be, on what, and how much they may keep: single cuts to be measured, and schedules made of them."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import pairwise, product

import numpy as np
from transformers import PreTrainedModel

from visionflow.engines.hf.families import family_of
from visionflow.engines.hf.layer_kinds import depth_of
from visionflow.engines.hf.scope import Scope
from visionflow.errors import VisionFlowError
from visionflow.methods.schedule import Schedule, Step
from visionflow.tuning.price import Price

TRIED = ("text", "last", "cover", "unlike-mean", "divprune")
"""On what cuts are tried, where nothing else is asked for; and with each of them the withdrawal of all image tokens."""

FIRST_KEEP, MORE_KEEPS = 0.25, (0.0625, 0.5, 0.125)
"""Shares at which single cuts are measured, the most telling first: what time leaves out is read off the others."""
KEEPS = (0.75, 0.65, 0.58, 0.5, 0.43, 0.37, 0.31, 0.25, 0.21, 0.17, 0.125, 0.09, 0.0625)
"""Shares that schedules are made of."""

MOST_LAYERS = 12
MOST_CUTS = 3
_WITHDRAWAL = "none"
_HOPELESS = 3.0  # a choice with so many times the KL of the best before its layer is not measured any further
_ALIKE = 3  # schedules that differ in shares alone: so many of them are proposed
_PROPOSED = 4000
_BY_HAND = (1 / 8, 5 / 8)  # of the depth


@dataclass(frozen=True)
class Space:
    """What is searched.

    Attributes:
        layers: before which there may be a cut.
        choices: on what.
        barred: layers and choices of which the model can do nothing: a look at attention where there is none.
    """

    layers: tuple[int, ...]
    choices: tuple[str, ...]
    barred: frozenset[tuple[int, str]] = frozenset()

    @classmethod
    def of(cls, model: PreTrainedModel, choices: Sequence[str] = TRIED) -> "Space":
        """For a model: the first layer and all after one that attends, of a deep model the first few and some more.

        Raises:
            VisionFlowError: there is no such choice, or the model can do none of them.
        """
        family, depth = family_of(model), depth_of(model.config)
        layers = [0, *(layer + 1 for layer in depth.attending if layer < family.last_cut(model))]
        layers = [layer for layer in layers if layer not in family.closed_to_cuts(model)]
        if len(layers) > MOST_LAYERS:
            places = (len(layers) - 1) * np.linspace(0, 1, MOST_LAYERS) ** 1.5
            layers = [layers[place] for place in sorted({round(place) for place in places} | {0, 1, 2})]
        for choice in choices:  # one that there is not is refused here
            _schedule([Step(layers[-1], choice, 0.5)])
        steps = (Step(layer, choice, 0.5) for layer, choice in product(layers, choices))
        barred = frozenset((step.layer, step.choice) for step in steps if not (_is_there(step) and _fits(model, step)))
        known = [choice for choice in choices if any((layer, choice) not in barred for layer in layers)]
        if not known:
            raise VisionFlowError(f"cuts on {', '.join(choices)} are none of this model's: choose others")
        return cls(tuple(layers), tuple(known), barred)

    def layers_of(self, choice: str) -> list[int]:
        """The layers before which there may be a cut on `choice`."""
        return [layer for layer in self.layers if (layer, choice) not in self.barred]

    def has(self, step: Step) -> bool:
        """Whether there is such a choice before that layer, and the model can do it."""
        return (step.layer, step.choice) not in self.barred and _is_there(step)

    def first_cuts(self) -> list[Step]:
        """Each choice before each layer, at the most telling share."""
        found = (Step(layer, choice, FIRST_KEEP) for layer, choice in product(self.layers, self.choices))
        return [step for step in found if self.has(step)]

    def more_cuts(self, table: Mapping[Step, float]) -> list[Step]:
        """Other shares of the choices that are not hopeless before their layer, and late withdrawals of the picture."""
        best: dict[int, float] = defaultdict(lambda: np.inf)
        for step, value in table.items():
            best[step.layer] = min(best[step.layer], value)
        worth = [step for step, value in table.items() if value <= _HOPELESS * best[step.layer]]
        withdrawn = [Step(layer, _WITHDRAWAL, 0.0) for layer in self.layers if layer > max(self.layers) // 3]
        return [step._replace(keep=keep) for keep in MORE_KEEPS for step in worth] + withdrawn


def schedules(table: Mapping[Step, float], price: Price, budget: float) -> list[tuple[float, tuple[Step, ...]]]:
    """Schedules of up to three cuts within a budget, with the sum of their cuts' KL: the most promising first.

    A cut that goes on from an earlier one saves what it would save alone less what a cut there to the earlier one's
    share would; costs put together like that are close, and too high where they are off.

    Args:
        table: KL of single cuts.
        price: of single cuts.
        budget: a share of dense.
    """
    steps = _best_choices(_read_off(table))
    saved = {step: price.guess(step) for step in steps}
    bare = {
        (layer, keep): price.guess(Step(layer, _WITHDRAWAL, keep))
        for layer, keep in {(step.layer, other.keep) for step in steps for other in steps if other.keep}
    }

    def fits(cuts: Sequence[Step]) -> bool:
        more = (saved[after] - bare[after.layer, before.keep] for before, after in pairwise(cuts))
        return saved[cuts[0]] + sum(more) <= budget

    found = ((sum(steps[cut] for cut in cuts), cuts) for cuts in _in_order(steps) if fits(cuts))
    return list(_unlike(nsmallest(_PROPOSED, found)))


def cascades(space: Space, price: Price, budget: float) -> list[tuple[Step, ...]]:
    """For each choice two cuts, an eighth and five eighths down, which keep q and its cube with the largest q within
    the budget: what one would set by hand, and so what a search must not be worse than."""
    found: list[tuple[Step, ...]] = []
    for choice in space.choices:
        early, late = (_nearest(space.layers_of(choice), share * (max(space.layers) + 1)) for share in _BY_HAND)
        pairs = [(Step(early, choice, keep), Step(late, choice, round(keep**3, 3))) for keep in KEEPS]
        pairs = [cuts for cuts in pairs if early < late and all(map(space.has, cuts))]
        # A share that keeps less is never dearer: the first that is within the budget is found by halves.
        first = bisect_left(pairs, True, key=lambda cuts: price.share(_schedule(cuts)) <= budget)
        found += pairs[first : first + 1]
    return found


def neighbours(steps: tuple[Step, ...], space: Space) -> list[tuple[Step, ...]]:
    """Schedules one move away: a cut at the next layer, on something else, keeping a little more or less; one less."""
    found = []
    for place, step in enumerate(steps):
        at = space.layers.index(step.layer)
        moved = [step._replace(layer=space.layers[to]) for to in (at - 1, at + 1) if 0 <= to < len(space.layers)]
        if step.keep:
            moved += [step._replace(keep=round(min(1.0, step.keep * by), 3)) for by in (1.2, 1.08, 1 / 1.08, 1 / 1.2)]
            moved += [step._replace(choice=choice) for choice in space.choices if choice != step.choice]
        found += [(*steps[:place], each, *steps[place + 1 :]) for each in moved if space.has(each)]
        found.append((*steps[:place], *steps[place + 1 :]))
    return [each for each in found if each and _is_sound(each)]


def _read_off(table: Mapping[Step, float]) -> dict[Step, float]:
    """The KL of single cuts at all of `KEEPS`, by straight lines between the measured shares; that of all kept is 0."""
    curves: dict[tuple[int, str], dict[float, float]] = defaultdict(dict)
    for step, value in table.items():
        curves[step.layer, step.choice][step.keep] = value
    read = {step: value for step, value in table.items() if not step.keep}
    for (layer, choice), curve in curves.items():
        shares = sorted(keep for keep in curve if keep)
        for keep in KEEPS:
            if shares and keep >= shares[0]:
                at = float(np.interp(keep, [*shares, 1.0], [*(curve[share] for share in shares), 0.0]))
                read[Step(layer, choice, keep)] = at
    return read


def _best_choices(read: Mapping[Step, float]) -> dict[Step, float]:
    """Of each layer and share the two best choices."""
    alike: dict[tuple[int, float], list[Step]] = defaultdict(list)
    for step in read:
        alike[step.layer, step.keep].append(step)
    return {step: read[step] for steps in alike.values() for step in nsmallest(2, steps, key=lambda each: read[each])}


def _in_order(steps: Iterable[Step], before: tuple[Step, ...] = ()) -> Iterator[tuple[Step, ...]]:
    """All schedules that go on from the cuts `before`, later and with less kept each time."""
    later = [step for step in steps if not before or (step.layer > before[-1].layer and step.keep < before[-1].keep)]
    for step in later:
        cuts = (*before, step)
        yield cuts
        if len(cuts) < MOST_CUTS:
            yield from _in_order(later, cuts)


def _unlike(found: Iterable[tuple[float, tuple[Step, ...]]]) -> Iterator[tuple[float, tuple[Step, ...]]]:
    """Of those that differ in their shares alone the first few."""
    seen: dict[tuple[tuple[int, str], ...], int] = defaultdict(int)
    for value, cuts in found:
        kind = tuple((cut.layer, cut.choice) for cut in cuts)
        seen[kind] += 1
        if seen[kind] <= _ALIKE:
            yield value, cuts


def _nearest(layers: Sequence[int], place: float) -> int:
    return min(layers, key=lambda layer: abs(layer - place))


def _schedule(steps: Iterable[Step]) -> Schedule:
    return Schedule(tuple(map(str, steps)))


def _is_there(step: Step) -> bool:
    """Whether there is such a choice before that layer."""
    try:
        _schedule([step])
    except VisionFlowError:
        return False
    return True


def _is_sound(steps: tuple[Step, ...]) -> bool:
    layers = [step.layer for step in steps]
    return layers == sorted(set(layers)) and all(after.keep < before.keep for before, after in pairwise(steps))


def _fits(model: PreTrainedModel, step: Step) -> bool:
    """Whether a scope can be opened on the model with that cut."""
    method = _schedule([step])
    try:
        Scope(model, method.plan()).remove()
    except VisionFlowError:
        return False
    return True
