"""Rows at equal cost: each method's ratios are chosen so that it takes a given share of what the dense run does.

The share is that of the prefill's true FLOPs, text and probes included, over some of the prompts that will be asked; or
that of another convention, such as the paper's, which counts image tokens alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from math import ceil
from typing import Any

import numpy as np

from visionflow.core.cutting import asked_of
from visionflow.core.plan import Plan
from visionflow.core.tokens import find_tokens
from visionflow.cost.conventions import NAMES, Convention
from visionflow.cost.model import cost_of
from visionflow.cost.shape import DecoderShape
from visionflow.engines.hf.families import family_of
from visionflow.engines.hf.tower_table import check_tower, tower_rows
from visionflow.errors import VisionFlowError
from visionflow.evaluation.batches import inputs_of, relevant_tokens
from visionflow.evaluation.oracle import Oracle
from visionflow.evaluation.rows import DENSE, WITHOUT_PICTURE, Configuration
from visionflow.evaluation.samples import Sample
from visionflow.loading.models import Loaded
from visionflow.methods import Method, method

CONTROLS = ("random", "grid", "unlike-mean")
COMPARED = (
    "fastv",
    "himap",
    "text-rows",
    "pyramiddrop",
    "sparsevlm",
    "dart",
    "deft",
    "divprune",
    "visionzip",
    "cdpruner",
    "scope",
    "mmtok",
    "cover",
    "flowcut",
    "vtw",
)
ORACLE = "oracle-margin"
"""The row that knows the relevant patches, and keeps others by lot until the budget is used up."""
RESIZE = "resize"
"""The row in which the picture is made smaller, and nothing is pruned."""

LAYERS = ("k", "k1", "k2", "layers")
RATIOS = ("r", "r1", "r2", "ratios")
"""How methods call the layers of their cuts, and the fractions dropped there."""

_PROMPTS = 16  # over which the share is taken
_STEPS = 24  # of the bisection
_SCALES = tuple(round(1 - step / 40, 3) for step in range(1, 40))


@dataclass(frozen=True)
class Lengths:
    """One prompt in tokens: before the picture, of it, and after it."""

    system: int
    image: int
    instruction: int


@dataclass(frozen=True)
class Budget:
    """A share of what the dense run does for some prompts.

    Attributes:
        share: above 0, below 1.
        shape: the decoder.
        prompts: their lengths.
        cost: the convention by which is counted.

    Raises:
        VisionFlowError: the share is out of range.
    """

    share: float
    shape: DecoderShape
    prompts: tuple[Lengths, ...]
    cost: Convention = "flops"

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise VisionFlowError(
                f"a budget is a share of the dense {NAMES[self.cost]}, above 0 and below 1, not {self.share:g}"
            )

    def taken(self, method: Method) -> float:
        """The share that `method` takes.

        Raises:
            VisionFlowError: how much it keeps depends on activations, or a layer is beyond the depth.
        """
        costs = [
            cost_of(
                method,
                self.shape,
                self.cost,
                image_tokens=each.image,
                text_tokens=each.system + each.instruction,
                instruction_tokens=each.instruction,
            )
            for each in self.prompts
        ]
        return sum(cost.pruned for cost in costs) / sum(cost.dense for cost in costs)

    def met_by(self, given: Method) -> Method:
        """`given` with ratios that take the share and hardly less; with earlier layers where its own cannot get there.

        Every fraction kept is raised to the same power, so that a schedule keeps its proportions. A method without
        ratios (VTW) gets its layers alone. What is found has four decimals.

        Raises:
            VisionFlowError: it cannot get there.
        """
        least = 1.0
        for each in _earlier(given, self.shape.num_layers):
            strongest = _stronger(each, 64.0)
            least = min(least, taken := self.taken(strongest))
            if taken <= self.share:
                return each if strongest == each else self._bisected(each)
        raise VisionFlowError(
            f"{given.name} cannot get down to {self.share:.1%} of the {NAMES[self.cost]}: it takes "
            f"{ceil(1000 * least) / 1000:.1%} at least here; ask for more, or choose a method that cuts earlier"
        )

    def _bisected(self, given: Method) -> Method:
        low, high = 0.0, 64.0
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (low, middle) if self.taken(_stronger(given, middle)) <= self.share else (middle, high)
        return _stronger(given, high)


def budget_of(loaded: Loaded, samples: Sequence[Sample], share: float, cost: Convention = "flops") -> Budget:
    """The budget that is `share` of what some of the samples, spread over all, take, counted by the convention `cost`.

    Raises:
        VisionFlowError: the cost of the decoder is not modelled, or the share is out of range.
    """
    return Budget(share, DecoderShape.from_config(loaded.model.config), lengths_of(loaded, samples), cost)


def lengths_of(loaded: Loaded, samples: Sequence[Sample], scale: float = 1.0) -> tuple[Lengths, ...]:
    """The lengths of some prompts, spread over all, with pictures made smaller by `scale`."""
    ids = family_of(loaded.model).image_token_ids(loaded.model)
    places = np.linspace(0, len(samples) - 1, min(_PROMPTS, len(samples))).round().astype(int)
    found = []
    for sample in (samples[place] for place in places):
        inputs = inputs_of(loaded, [sample], scale=scale)
        tokens = find_tokens(inputs["input_ids"], inputs["attention_mask"], ids)
        found.append(Lengths(tokens.system.counts[0], tokens.image.counts[0], tokens.instruction.counts[0]))
    return tuple(found)


def budget_rows(
    loaded: Loaded,
    samples: Sequence[Sample],
    share: float,
    named: Sequence[str] = (),
    seed: int = 0,
    cost: Convention = "flops",
) -> tuple[list[Configuration], dict[str, str]]:
    """Dense, controls, methods, oracle and smaller pictures at the same share of dense; and who cannot get there.

    Args:
        loaded: the model with its processor.
        samples: what will be asked.
        share: of what dense does.
        named: methods as `visionflow.method` takes them, in place of `COMPARED`; their layers are kept where they can
            be. A plan file or a schedule is taken as it is.
        seed: of the random row.
        cost: the convention by which is counted.

    Returns:
        The rows, and by name why others are not among them.

    Raises:
        VisionFlowError: one that is named is none, the cost is not modelled, or the share is out of range.
    """
    budget = budget_of(loaded, samples, share, cost)
    rows, missing = [DENSE], {}
    for name in named:
        _named(loaded, name)
    for name in dict.fromkeys((*CONTROLS, *(named or COMPARED))):
        try:
            rows.append(Configuration(name, _fitted(loaded, name, budget, seed)))
        except VisionFlowError as error:
            missing[name] = str(error)
    if relevant_tokens(loaded.model, samples[:1]) is not None and all(each.relevant for each in samples):
        try:
            rows.append(Configuration(ORACLE, budget.met_by(Oracle(1, r=0.5))))
        except VisionFlowError as error:
            missing[ORACLE] = str(error)
    try:
        rows.append(Configuration(RESIZE, None, scale=scale_for(loaded, samples, budget)))
    except VisionFlowError as error:
        missing[RESIZE] = str(error)
    return [*rows, WITHOUT_PICTURE], missing


def scale_for(loaded: Loaded, samples: Sequence[Sample], budget: Budget) -> float:
    """By how much pictures have to be made smaller for dense to take the budget's share; the largest of 39 scales.

    Raises:
        VisionFlowError: pictures of any size give as many tokens, or the smallest give too many.
    """

    def taken(scale: float) -> float:
        costs = [
            cost_of(
                Plan(), budget.shape, budget.cost, image_tokens=each.image, text_tokens=each.system + each.instruction
            )
            for each in lengths_of(loaded, samples, scale)
        ]
        return sum(cost.dense for cost in costs)

    whole, smallest = taken(1.0), taken(_SCALES[-1])
    if smallest == whole:
        raise VisionFlowError(
            f"the processor of {loaded.name} makes as many tokens of a picture of any size: nothing is saved by a "
            "smaller one"
        )
    for scale in _SCALES:
        if taken(scale) <= budget.share * whole:
            return scale
    raise VisionFlowError(
        f"pictures at {_SCALES[-1]:.1%} of their size still take {smallest / whole:.0%} of the {NAMES[budget.cost]}"
    )


def _fitted(loaded: Loaded, name: str, budget: Budget, seed: int) -> Method:
    found = _named(loaded, name)
    own = {field.name for field in fields(found)}  # type: ignore[arg-type]
    if own & {"content", "steps"}:  # a plan file, a schedule
        return found
    rows: Any = tower_rows(loaded.model.config)
    if rows and "rows" in own and vars(found)["rows"] not in rows:
        found = replace(found, rows=rows[0])  # type: ignore[type-var]
    if "tower" in asked_of(found.plan()):
        check_tower(loaded.model.config, vars(found).get("rows", "received"))
    return budget.met_by(replace(found, seed=seed) if "seed" in own else found)  # type: ignore[type-var]


def _named(loaded: Loaded, name: str) -> Method:
    model = loaded.model
    return method(name, len(family_of(model).layers_of(model)), loaded.name, model.config.model_type)


def _stronger(given: Method, power: float) -> Method:
    """The same with every fraction kept to that power."""

    def ratio(r: float) -> float:
        return min(0.9999, round(float(1 - (1 - r) ** power), 4))

    own = {name: value for name, value in vars(given).items() if name in RATIOS}
    more = {name: tuple(map(ratio, r)) if isinstance(r, tuple) else ratio(r) for name, r in own.items()}
    return replace(given, **more)  # type: ignore[type-var]


def _earlier(given: Method, depth: int) -> Iterator[Method]:
    """The method, then with ever earlier layers, as far as it goes; without ratios from the deepest layer on."""
    names = [name for name in LAYERS if name in vars(given)]
    layers = [layer for name in names for layer in _as_tuple(vars(given)[name])]
    if not any(name in vars(given) for name in RATIOS):
        layers = [depth - len(layers) + place for place in range(len(layers))]
    if not layers:
        yield given
    before: list[int] = []
    while layers != before:
        try:
            yield _with_layers(given, names, layers)
        except VisionFlowError:  # this method starts no earlier
            return
        least = given.plan().cuts[0].evidence.earliest
        before, layers = layers, [max(least + place, layer - 1) for place, layer in enumerate(layers)]


def _with_layers(given: Method, names: Sequence[str], layers: Sequence[int]) -> Method:
    left, found = list(layers), {}
    for name in names:
        value = vars(given)[name]
        taken, left = left[: len(_as_tuple(value))], left[len(_as_tuple(value)) :]
        found[name] = tuple(taken) if isinstance(value, tuple) else taken[0]
    return replace(given, **found)  # type: ignore[type-var]


def _as_tuple(value: Any) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)
