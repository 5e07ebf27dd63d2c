"""The matrix that every oracle runs over: methods x families x attention implementations."""

from functools import cache

import pytest
import torch
from transformers import PreTrainedModel

from tests.tiny import Prompt, prompt, tiny_llava
from visionflow import VTW, FastV, HiMAP, Method, RandomPruning

METHODS: list[Method] = [
    HiMAP(2, 0.5, 4, 0.75),
    HiMAP(1, 0.5, 3, 0.5, deep_criterion="received"),
    HiMAP(2, 0.25, 5, 0.5, exclude_self=True),
    FastV(2, 0.5),
    VTW(3),
    RandomPruning(2, 0.5, seed=3),
]
NOTHING_DROPPED: list[Method] = [HiMAP(2, 0.0, 4, 0.0), FastV(2, 0.0), RandomPruning(2, 0.0)]
FAMILIES = {"llava": 4, "llava-grouped": 2}

PROBING = [method for method in METHODS if any(cut.probe for cut in method.cuts())]

methods = pytest.mark.parametrize("method", METHODS, ids=str)
probing_methods = pytest.mark.parametrize("method", PROBING, ids=str)
idle_methods = pytest.mark.parametrize("method", NOTHING_DROPPED, ids=str)
CELLS = [(family, attention) for family in FAMILIES for attention in ("sdpa", "eager")]
models = pytest.mark.parametrize("model", CELLS, ids="-".join, indirect=True)


@cache
def model_of(family: str, attention: str = "sdpa", dtype: torch.dtype = torch.float32) -> PreTrainedModel:
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
