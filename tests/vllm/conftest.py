"""These run in an environment of their own, with vLLM on the CPU: ``make test-vllm``."""

import os
from pathlib import Path

import pytest

os.environ |= {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine in this process, where it can be watched
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "ERROR",
}
pytest.importorskip("vllm")

from tests.vllm.oracle import Oracle
from tests.vllm.tiny import save_for_vllm


class Checkpoints:
    """The tiny models on disk and in transformers, each made once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._oracles: dict[str, Oracle] = {}

    def oracle(self, family: str) -> Oracle:
        """The family's model in transformers; `Oracle.folder` is where vLLM finds it."""
        if family not in self._oracles:
            self._oracles[family] = Oracle(save_for_vllm(family, self._folder / family))
        return self._oracles[family]


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """All of them."""
    return Checkpoints(tmp_path_factory.mktemp("checkpoints"))
