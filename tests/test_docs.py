"""What the documents show has to run."""

import json
import re
import runpy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from PIL import Image
from transformers import PreTrainedModel

from tests.tiny import prompt
from visionflow import Method, prune
from visionflow.methods.base import keep_ratio
from visionflow.runtime import Cut, Probe, paid

DOCS = Path(__file__).parent.parent / "docs"


def test_the_code_of_the_embedded_model_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = re.search(r"```python\n(.*?)```", (DOCS / "embedded-model.md").read_text(), re.S)
    assert code is not None
    exec(code[1], {})
    assert re.fullmatch(r" ?(\w+) \('\1',\)\n", capsys.readouterr().out)  # its answer is the right one


def test_the_new_method_of_the_design_page_runs(model: PreTrainedModel) -> None:
    code = re.search(r"## A new method\n\n```python\n(.*?)```", (DOCS / "design.md").read_text(), re.S)
    assert code is not None
    names: dict[str, Any] = {
        "dataclass": dataclass, "ClassVar": ClassVar, "Method": Method, "Cut": Cut, "Probe": Probe, "paid": paid,
        "keep_ratio": keep_ratio,
    }  # fmt: skip
    exec(code[1], names)
    with prune(model, names["KeepLargestReaders"](2, 0.5)) as trace, torch.no_grad():
        model(**prompt(3, "image", 6).inputs)
    assert trace.image_tokens[:, 0].tolist() == [25, 25, 13, 13, 13, 13]


def test_the_script_of_the_study_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a handful of questions: the figure is drawn, and the table says what the data do."""
    script = runpy.run_path(str(DOCS / "study" / "lenses.py"))
    script["main"](limit=8, captions=1, out=tmp_path)
    found = json.loads((tmp_path / "lenses.json").read_text())
    assert 1 <= found["samples"] <= 8
    assert [row.pop("layer") for row in found["layers"]] == list(range(8))
    for row in found["layers"]:
        assert row.keys() == script["COLUMNS"].keys()
        assert all(each["low"] <= each["value"] <= each["high"] for each in row.values())
    assert found["layers"][-1]["answer_on_top"]["value"] == 1  # only questions answered rightly are followed
    named = found["captions"]["naming_every_object_with_keys_withheld_in"]
    assert list(named) == ["none", "first half", "last half", "all"]
    with Image.open(tmp_path / "lenses.png") as figure:
        assert figure.size == (1950, 570)
    assert f"{found['samples']} questions that need the picture" in capsys.readouterr().out
