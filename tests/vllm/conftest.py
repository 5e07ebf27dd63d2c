"""These run in an environment of their own, with vLLM on the CPU (``make test-vllm``); elsewhere none is collected."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.vllm import second_runner

if TYPE_CHECKING:
    from tests.vllm.oracle import Oracle

collect_ignore_glob = [] if find_spec("vllm") else ["test_*.py"]

os.environ |= {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine in this process, where it can be watched
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "ERROR",
}
second_runner.install()


class Checkpoints:
    """The tiny models on disk and in transformers, each made once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._oracles: dict[str, Oracle] = {}

    def oracle(self, family: str) -> "Oracle":
        """The family's model in transformers; `Oracle.folder` is where vLLM finds it."""
        from tests.vllm.oracle import Oracle

        if family not in self._oracles:
            self._oracles[family] = Oracle(self.folder(family))
        return self._oracles[family]

    def folder(self, family: str) -> Path:
        """Where the family's model is on disk."""
        from tests.vllm.tiny import save_for_vllm

        folder = self._folder / family
        return folder if folder.exists() else save_for_vllm(family, folder)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """All of them."""
    return Checkpoints(tmp_path_factory.mktemp("checkpoints"))
