"""Tiny original checkpoints on disk, and the models and processors loaded from them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel

from tests.cli.conftest import visionflow as visionflow
from tests.legacy import originals
from visionflow.legacy import mobilevlm


@dataclass(frozen=True)
class System:
    """One of the two, small, with random weights.

    Attributes:
        directory: its original files; nobody may change them.
        weights: what is in them, in fp64, as the model is.
        per_image: tokens of one picture.
    """

    directory: Path
    weights: originals.Weights
    per_image: int
    model: PreTrainedModel
    processor: Any


@pytest.fixture(scope="session", autouse=True)
def tiny_tower() -> Iterator[None]:
    """A tower that is known by name, as the released one is, and small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(mobilevlm.TOWERS, "tiny-tower", originals.TINY_TOWER)
        yield


@pytest.fixture(scope="session")
def mobile(tmp_path_factory: pytest.TempPathFactory, tiny_tower: None) -> System:
    """MobileVLM V2."""
    weights = originals.mobilevlm_weights()
    directory = originals.write_mobilevlm(tmp_path_factory.mktemp("mobilevlm"), weights)
    return _loaded(directory, weights, per_image=144)


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> System:
    """Qwen-VL-Chat."""
    weights = originals.qwen_weights()
    directory = originals.write_qwen(tmp_path_factory.mktemp("qwen"), weights)
    return _loaded(directory, weights, per_image=256)


@pytest.fixture(params=["mobile", "qwen"])
def system(request: pytest.FixtureRequest) -> System:
    """Each of the two."""
    found: System = request.getfixturevalue(request.param)
    return found


def _loaded(directory: Path, weights: originals.Weights, per_image: int) -> System:
    model = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float64).eval()
    exact = {name: weight.double() for name, weight in weights.items()}
    return System(directory, exact, per_image, model, AutoProcessor.from_pretrained(directory))
