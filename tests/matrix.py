"""The matrix that every oracle runs over: methods x families x attention implementations."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.tiny import LAYERS, Prompt, prompt, tiny_llava
from visionflow import VTW, FastV, HiMAP, Method, RandomPruning, VisiPruner
from visionflow.core import (
    Attention,
    AttentionRows,
    Chosen,
    Cut,
    Nothing,
    Positive,
    Ratio,
    Reduction,
    Shown,
    Spaced,
    Tokens,
    received,
)
from visionflow.methods import (
    DART,
    SCOPE,
    AutoPrune,
    CDPruner,
    Cover,
    DeFT,
    DivPrune,
    FlowCut,
    Grid,
    MMTok,
    PyramidDrop,
    SparseVLM,
    TextRows,
    UnlikeMean,
    VisionZip,
    parse,
)
from visionflow.methods import METHODS as methods_by_name


@dataclass(frozen=True)
class Excess(Reduction):
    """How much more a token is read than the image tokens are on average."""

    def __call__(self, rows: AttentionRows) -> Tensor:
        """A difference."""
        read, image = received(rows), rows.tokens.image.mask
        return read - (read * image).sum(1, keepdim=True) / image.sum(1, keepdim=True).clamp(min=1)


@dataclass(frozen=True)
class AboveAverage(Method):
    """Keeps the image tokens that the text reads more than on average: how many depends on activations."""

    name: ClassVar[str] = "above-average"

    k: int

    def cuts(self) -> tuple[Cut, ...]:
        """One cut without a count."""
        return (Cut(self.k, Positive(), Attention("instruction", Excess())),)


@dataclass(frozen=True)
class IntoNearest(Spaced):
    """Evenly spaced tokens stay, and each other one goes into the last of these before it, or else the first."""

    merges = True

    def __call__(self, shown: Shown, tokens: Tokens, counts: tuple[int, ...]) -> Chosen:
        """A choice on places alone."""
        keep = super().__call__(shown, tokens, counts).keep
        place = torch.arange(keep.shape[1], device=keep.device).expand_as(keep)
        before, first = place.masked_fill(~keep, -1).cummax(1).values, keep.int().argmax(1, keepdim=True)
        return Chosen(keep, torch.where(tokens.image.mask, torch.where(before < 0, first, before), place))


@dataclass(frozen=True)
class Merging(Method):
    """Merges image tokens into some of them, before each of `layers`."""

    name: ClassVar[str] = "merging"

    layers: tuple[int, ...]
    r: float

    def cuts(self) -> tuple[Cut, ...]:
        """Cuts on nothing."""
        return tuple(Cut(layer, Ratio(self.r), Nothing(), IntoNearest()) for layer in self.layers)


WRITTEN: list[Method] = [
    HiMAP(2, 0.5, 4, 0.75),
    HiMAP(1, 0.5, 3, 0.5, deep_criterion="received"),
    HiMAP(2, 0.25, 5, 0.5, exclude_self=True),
    FastV(2, 0.5),
    VTW(3),
    RandomPruning(2, 0.5, seed=3),
    AboveAverage(2),
    VisiPruner(2, 0.85, 0.3, 0.97, exit_patience=1),
    VisiPruner(1, 0.8, 0.1, 0.9, 1, token_scale="relative", fallback_layer=3, shallow_image_to_image=True),
    VisiPruner(2, 0.92, 0.5, at_most=4, selection="text", phases=("middle",)),
    PyramidDrop((0, 2, 4)),
    PyramidDrop((1, 3), 0.4, when="ran"),
    DivPrune(0.6),
    Grid(0.5),
    UnlikeMean(0.5),
    VisionZip(0.5, 0.3),
    VisionZip(0.6, rows="received"),
    Merging((0, 3), 0.4),
    SparseVLM((1, 2, 4), (0.3, 0.4, 0.5)),
    CDPruner(0.6),
    DART(2, 0.5),
    SCOPE(0.6),
    MMTok(0.6),
    Cover(0.6),
    DeFT(0.7, 3),
    FlowCut(0.5),
    DivPrune(0.6, positions="compact"),
    AutoPrune(0.5, LAYERS, 0, steepness=2.0, sensitivity=0.5),
]
VARIANTS: list[Method] = [
    SparseVLM((2,), (0.6,), recycle=False),
    DART(0, 0.6, 2, 1),
    PyramidDrop((1, 3), 0.4, when="ran", positions="compact"),
    SCOPE(0.5, 0.0, "received"),
    TextRows((1, 3), (0.4, 0.5)),
    TextRows((0, 3), (0.4, 0.5), (0.4, 0.3, 0.2, 0.1), "entry"),
]
"""Made of what others show already: left to ``make slow``."""
UNWRITTEN = [name for name in methods_by_name if name not in {method.name for method in (*WRITTEN, *VARIANTS)}]
METHODS = WRITTEN + VARIANTS + [parse(name).of(LAYERS) for name in UNWRITTEN]
"""Those with chosen fields, and every other method of the package as it is by default in a model of this depth."""
NOTHING_DROPPED: list[Method] = [
    HiMAP(2, 0.0, 4, 0.0),
    FastV(2, 0.0),
    RandomPruning(2, 0.0),
    PyramidDrop((0, 3), 0.0),
    DivPrune(0.0),
    VisionZip(0.0),
    Merging((0, 3), 0.0),
    SparseVLM((1, 2, 4), (0.0, 0.0, 0.0)),
    CDPruner(0.0),
    DART(2, 0.0),
    SCOPE(0.0),
    MMTok(0.0),
    Cover(0.0),
    DeFT(0.0, 3),
]
FAMILIES = {"llava": 4, "llava-grouped": 2}

PROBING = [method for method in METHODS if any(cut.probed is not None for cut in method.cuts())]
PLACED = [method for method in METHODS if method.plan().positions == "keep"]
DROPPING = [method for method in PLACED if not any(cut.select.merges for cut in method.cuts())]
UNBLOCKED = [method for method in METHODS if not method.blocks()]


def _quick_first(methods: Iterable[Method]) -> list[Any]:
    """Parameters of a test, variants left to ``make slow``."""
    return [pytest.param(each, id=str(each), marks=pytest.mark.slow if each in VARIANTS else ()) for each in methods]


methods = pytest.mark.parametrize("method", _quick_first(METHODS))
CELLS = [(family, attention) for family in FAMILIES for attention in ("sdpa", "eager")]
QUICK_CELLS = [("llava", "eager"), ("llava-grouped", "sdpa")]  # each family and each attention once


def quick_or_slow(values: Iterable[Any], quick: Container[Any]) -> list[Any]:
    """Parameters of a test: all values, those that are not quick left to ``make slow``."""
    return [pytest.param(value, marks=() if value in quick else pytest.mark.slow) for value in values]


def in_turns(
    names: str, values: Iterable[Sequence[Any]], turns: Sequence[Container[Any]], methods: Iterable[Method]
) -> pytest.MarkDecorator:
    """Parameters ``method`` and `names` of a test: each method with all values, of which one thing is for each name.

    The methods take turns: what is not of a method's own turn, and all of the variants, is left to ``make slow``.
    """
    combined = [
        pytest.param(
            *(method, *value),
            id="-".join([str(method), *map(_word, value)]),
            marks=() if value in turns[number % len(turns)] and method not in VARIANTS else pytest.mark.slow,
        )
        for (number, method), value in product(enumerate(methods), values)
    ]
    indirect = ["model"] if "model" in names.split(",") else False
    return pytest.mark.parametrize(f"method,{names}", combined, indirect=indirect)


def _word(value: Any) -> str:
    return "-".join(value) if isinstance(value, tuple) else getattr(value, "__name__", str(value))


models = pytest.mark.parametrize("model", quick_or_slow(CELLS, QUICK_CELLS), ids="-".join, indirect=True)


def models_in_turns(methods: Iterable[Method]) -> pytest.MarkDecorator:
    """Each method on all models, the quick of which take turns."""
    return in_turns("model", [(cell,) for cell in CELLS], [[(cell,)] for cell in QUICK_CELLS], methods)


def models_and_sides_in_turns(methods: Iterable[Method]) -> pytest.MarkDecorator:
    """Each method on all models, padded on both sides: quick is one side on one model and the other on the other."""
    one, other = QUICK_CELLS
    turns = [[(one, "left"), (other, "right")], [(one, "right"), (other, "left")]]
    return in_turns("model,side", list(product(CELLS, ("left", "right"))), turns, methods)


@cache
def model_of(family: str, attention: str = "sdpa", dtype: torch.dtype = torch.float64) -> PreTrainedModel:
    """One shared model per cell; oracle 6 is what makes sharing safe."""
    return tiny_llava(FAMILIES[family], attention, dtype)


def prompts() -> list[Prompt]:
    """One picture, two pictures with text between, no picture, one picture in a long prompt."""
    return [
        prompt(3, "image", 6),
        prompt(2, "image", 4, "image", 9, seed=3),
        prompt(9, seed=4),
        prompt(20, "image", 12, seed=5),
    ]
