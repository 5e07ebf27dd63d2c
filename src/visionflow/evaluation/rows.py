"""The rows of a table: configurations that are compared on the same samples, at stated budgets.

A budget can be counted in two ways, and they do not agree: as many image tokens *at the end*, or as many on *average*
over the layers. Methods with one cut are held against HiMAP's two at both.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

from torch import Tensor

from visionflow.core.depth import attending_of
from visionflow.core.plan import Cut
from visionflow.errors import VisionFlowError
from visionflow.evaluation.oracle import Oracle
from visionflow.methods import METHODS, VTW, FastV, HiMAP, Method, RandomPruning, VisiPruner, parse
from visionflow.methods.visipruner_phases import Selection

Sight = Literal["picture", "grey", "none"]
"""What the model gets to see: the picture, a grey one of its size, or none."""

REFERENCE = "dense"
NO_IMAGE = "no-image"
SWEPT = (0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class RandomSteps(Method):
    """HiMAP's own two cuts with a random choice at each: the fair control, for only the evidence differs.

    Attributes:
        k1, r1, k2, r2: as of `HiMAP`.
        seed: another seed, another draw.
    """

    name: ClassVar[str] = "random-steps"

    k1: int
    r1: float
    k2: int
    r2: float
    seed: int = 0

    def cuts(self) -> tuple[Cut, ...]:
        """Two cuts, on no evidence at all."""
        return (
            *RandomPruning(self.k1, self.r1, self.seed).cuts(),
            *RandomPruning(self.k2, self.r2, self.seed).cuts(),
        )


@dataclass(frozen=True)
class Configuration:
    """One configuration.

    Attributes:
        name: how it is called in tables and picked on the command line.
        method: None for the unpruned model.
        sight: what it sees where nothing else is asked for.
        series: the curve it is a point of; empty outside of sweeps.
        scale: by which pictures are made smaller before the processor gets them; 1 for as they are.
    """

    name: str
    method: Method | None
    sight: Sight = "picture"
    series: str = ""
    scale: float = 1.0

    def on(self, relevant: Tensor | None) -> Method | None:
        """The method for a batch whose `relevant` patches ``[batch, patches]`` are known, or are not (None).

        Raises:
            VisionFlowError: it cannot do without them.
        """
        if not isinstance(self.method, Oracle):
            return self.method
        if relevant is None:
            raise VisionFlowError(
                "which image tokens matter is not known here: leave the row oracle out with --methods"
            )
        return replace(self.method, relevant=relevant)

    @property
    def settings(self) -> str:
        """The call that makes the method, and what it sees if that is not the picture."""
        call = str(self.method) if self.method else "no pruning"
        call += f", pictures at {self.scale:g} of their size" * (self.scale != 1)
        return call + {"picture": "", "grey": ", on a grey picture", "none": ", without the picture"}[self.sight]


DENSE = Configuration(REFERENCE, None)
"""The model as it is."""

WITHOUT_PICTURE = Configuration(NO_IMAGE, None, sight="none")
"""The unpruned model that has to guess."""


def table_rows(num_layers: int, seed: int = 0, model: str = "") -> list[Configuration]:
    """The rows of a table for the `model` of `num_layers`, the dense one first.

    ``-end`` rows keep as many image tokens at the end as HiMAP, ``-average`` rows as many on average over the layers,
    both with one cut at HiMAP's first layer. VisiPruner is there where all layers attend.

    Raises:
        VisionFlowError: the model has too few layers for two cuts.
    """
    himap = _himap(num_layers)
    end, average = same_end(himap), same_average(himap, num_layers)
    k = himap.k1
    return [
        DENSE,
        Configuration("oracle", Oracle(k)),
        Configuration("random-end", RandomPruning(k, end, seed)),
        Configuration("random-average", RandomPruning(k, average, seed)),
        Configuration("random-steps", RandomSteps(himap.k1, himap.r1, himap.k2, himap.r2, seed)),
        Configuration("fastv", parse("fastv").of(num_layers)),
        Configuration("fastv-end", FastV(k, end)),
        Configuration("fastv-average", FastV(k, average)),
        Configuration("himap-paid", himap),
        Configuration("himap-received", replace(himap, deep_criterion="received")),
        Configuration("himap-stage1", replace(himap, r2=0.0)),
        Configuration("himap-stage2", replace(himap, r1=0.0)),
        Configuration("vtw", VTW(max(1, num_layers // 2))),
        *_visipruner_row(num_layers, model),
        WITHOUT_PICTURE,
    ]


def phase_rows(num_layers: int, seed: int = 0, model: str = "") -> list[Configuration]:
    """VisiPruner phase by phase, and its middle phase with the four selection rules of its Table 4.

    ``visipruner-released`` has the released code's shallow phase and way of counting quiet layers.

    Raises:
        VisionFlowError: the model has too few layers.
    """
    method = _visipruner(num_layers, model)
    middle = replace(method, phases=("middle",))
    rules: tuple[Selection, ...] = ("last", "text", "image")
    return [
        DENSE,
        Configuration("visipruner-middle", middle),
        Configuration("visipruner-middle-deep", replace(method, phases=("middle", "deep"))),
        Configuration("visipruner", method),
        Configuration("visipruner-shallow", replace(method, phases=("shallow",))),
        Configuration("visipruner-cached", replace(method, shallow_cache=True)),
        Configuration(
            "visipruner-released",
            replace(method, freed_mass="fold", shallow_image_to_image=True, shallow_cache=True, exit_rule="cumulative"),
        ),
        *(Configuration(f"visipruner-by-{rule}", replace(middle, selection=rule)) for rule in rules),
        WITHOUT_PICTURE,
    ]


def sweep_rows(num_layers: int, seed: int = 0, model: str = "") -> list[Configuration]:
    """The points of the curve accuracy against cost: each method at the ratios of `SWEPT`, VTW at three depths.

    Methods with two cuts drop the same fraction at both. None of them has anything that is the `model`'s own.

    Raises:
        VisionFlowError: the model has too few layers for two cuts.
    """
    himap = _himap(num_layers)
    k1, k2 = himap.k1, himap.k2
    rows = [DENSE, WITHOUT_PICTURE, Configuration("oracle", Oracle(k1), series="oracle")]
    for r in SWEPT:
        methods: dict[str, Method] = {
            "random": RandomPruning(k1, r, seed),
            "random-steps": RandomSteps(k1, r, k2, r, seed),
            "fastv": FastV(k1, r),
            "himap-paid": HiMAP(k1, r, k2, r),
            "himap-received": HiMAP(k1, r, k2, r, deep_criterion="received"),
        }
        rows += [Configuration(f"{name}-{r}", method, series=name) for name, method in methods.items()]
    layers = sorted({max(1, round(num_layers * share)) for share in (0.25, 0.5, 0.75)})
    return rows + [Configuration(f"vtw-{k}", VTW(k), series="vtw") for k in layers]


ROWS: dict[str, Callable[[int, int, str], list[Configuration]]] = {
    "table": table_rows,
    "sweep": sweep_rows,
    "phases": phase_rows,
}
"""Sets of rows by name, for a number of layers, a seed and the name of the model."""


def rows_of_methods(
    rows: Sequence[Configuration], names: Sequence[str], num_layers: int, model: str, architecture: str
) -> list[Configuration]:
    """A row for each of the names that is none of `rows` but a method, as `visionflow.method` takes it.

    Raises:
        VisionFlowError: a setting is missing or does not suit the model.
    """
    known = {name for row in rows for name in (row.name, row.series)}
    named = [name for name in names if name not in known and (name in METHODS or not re.fullmatch(r"[\w-]+", name))]
    return [Configuration(name, parse(name).of(num_layers, model, architecture)) for name in named]


def chosen_rows(
    rows: Sequence[Configuration], names: Sequence[str], always: Sequence[str] = (REFERENCE,)
) -> list[Configuration]:
    """The rows, or all of a series, that are called by name, and those that are `always` there; all for no names.

    Raises:
        VisionFlowError: there is no such row.
    """
    for name in names:
        if not any(name in (row.name, row.series) for row in rows):
            known = dict.fromkeys(row.series or row.name for row in rows)
            raise VisionFlowError(f"there is no row {name!r}: choose of {', '.join(known)}")
    return [row for row in rows if not names or {row.name, row.series} & {*names, *always}]


def seeing(rows: Sequence[Configuration], sight: str) -> list[Configuration]:
    """The rows with another `sight` in place of the picture.

    Raises:
        VisionFlowError: there is no such sight.
    """
    for known in get_args(Sight):
        if sight == known:
            return [replace(row, sight=known) if row.sight == "picture" else row for row in rows]
    raise VisionFlowError(f"unknown sight {sight!r}: choose one of {', '.join(get_args(Sight))}")


def same_end(himap: HiMAP) -> float:
    """The fraction that one cut has to drop to leave as many image tokens at the end as HiMAP's two."""
    return 1 - (1 - himap.r1) * (1 - himap.r2)


def same_average(himap: HiMAP, num_layers: int) -> float:
    """The fraction that one cut at HiMAP's first layer has to drop for the same average over the layers."""
    between, after = himap.k2 - himap.k1, num_layers - himap.k2
    kept = between * (1 - himap.r1) + after * (1 - himap.r1) * (1 - himap.r2)
    return 1 - kept / (between + after)


def _visipruner_row(num_layers: int, model: str) -> list[Configuration]:
    if len(attending_of(num_layers)) < num_layers:
        return []
    return [Configuration("visipruner", _visipruner(num_layers, model))]


def _visipruner(num_layers: int, model: str) -> VisiPruner:
    visipruner = parse("visipruner").of(num_layers, model)
    assert isinstance(visipruner, VisiPruner)
    return visipruner


def _himap(num_layers: int) -> HiMAP:
    himap = parse("himap").of(num_layers)
    assert isinstance(himap, HiMAP)
    return himap
