"""The command line in this process, and a checkpoint for it."""

from pathlib import Path

import pytest

from tests.cli.running import Run
from tests.tiny_processor import save_tiny
from visionflow.cli import main


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tiny LLaVA with random weights; nobody may change it."""
    return save_tiny(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture
def visionflow(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `visionflow` with these arguments; gives exit code, standard output and standard error."""

    def run(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["visionflow", *map(str, args)])
        capsys.readouterr()  # what the test's own preparations print is not the command's
        with pytest.raises(SystemExit) as stop:
            main()
        told = capsys.readouterr()
        return int(stop.value.code or 0), told.out, told.err

    return run
