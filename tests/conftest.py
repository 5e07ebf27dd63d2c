"""Fixtures shared by all tests."""

import os

if os.environ.get("ATEN_CPU_CAPABILITY") in ("default", "avx2"):
    # On a processor with AMX torch would go on to bf16 attention that its own kernels of that capability cannot do.
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings
from transformers import PreTrainedModel

from tests.exact import exact_in_double
from tests.matrix import model_of

settings.register_profile("without a clock", deadline=None)
settings.load_profile("without a clock")
# Tiny models: more threads only wait for each other. The results are the same: VISIONFLOW_TEST_THREADS=2 shows it.
torch.set_num_threads(int(os.environ.get("VISIONFLOW_TEST_THREADS", "1")))


@pytest.fixture(scope="session", autouse=True)
def exact() -> Iterator[None]:
    """What is computed in fp64 is computed in fp64 throughout."""
    with exact_in_double():
        yield


@pytest.fixture
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """The model of one cell of the matrix; a grouped-query LLaVA with sdpa where a test does not ask."""
    return model_of(*getattr(request, "param", ("llava-grouped", "sdpa")))
