"""The page about the older models: its code runs."""

import re
from pathlib import Path

import pytest
from PIL import Image

from tests.legacy.conftest import System

PAGE = Path(__file__).parents[2] / "docs" / "older-models.md"


def test_the_code_of_the_page_runs(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (50, 30), "red").save("photo.jpg")
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert code is not None
    names = {}
    exec(code[1].replace('"MobileVLM_V2-1.7B"', repr(str(system.directory))), names)
    assert (names["inputs"]["input_ids"] == system.model.config.image_token_id).sum() == system.per_image
    assert capsys.readouterr().out.endswith("\n")
