"""What the documents show has to run."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
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
