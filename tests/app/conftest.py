"""A session with the tiny LLaVA; what needs Flask is collected where `make look` has it."""

from importlib.util import find_spec

import pytest

from tests.tiny import tiny_llava
from tests.tiny_processor import tiny_processor
from visionflow.app.session import Session
from visionflow.loading.models import Loaded

collect_ignore = [] if find_spec("flask") else ["test_server.py"]


@pytest.fixture
def session() -> Session:
    return Session(Loaded(tiny_llava(), tiny_processor(), "tiny"))
