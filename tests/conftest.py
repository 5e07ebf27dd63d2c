"""Fixtures shared by all tests."""

import pytest
import torch
from hypothesis import settings
from transformers import PreTrainedModel

from tests.matrix import model_of

settings.register_profile("without a clock", deadline=None)
settings.load_profile("without a clock")
torch.set_num_threads(1)  # tiny models: more threads only wait for each other


@pytest.fixture
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """The model of one cell of the matrix; a grouped-query LLaVA with sdpa where a test does not ask."""
    return model_of(*getattr(request, "param", ("llava-grouped", "sdpa")))
