"""The checks for a GPU run to their end on tiny models on the CPU, so that they do when there is one."""

import json
from pathlib import Path

import pytest

from tests.gpu.__main__ import main
from tests.gpu.checks import CHECKS


@pytest.mark.parametrize("name", CHECKS)
def test_the_check_runs_to_its_end(name: str, tmp_path: Path) -> None:
    assert main([name, "--tiny", "--device", "cpu", "--json", str(tmp_path / "found.json")]) == 0
    rows = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert {row["check"] for row in rows} == {name}


def test_what_is_no_check_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["speed", "--tiny", "--device", "cpu"])
    assert "no check is called 'speed'" in capsys.readouterr().err
