"""What the documents show has to run."""

import ast
import json
import re
import runpy
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import typer
from PIL import Image
from transformers import PreTrainedModel

from tests.tiny import batch_of, prompt
from visionflow import Method, VisiPruner, prune
from visionflow.bench.shapes import SHAPES
from visionflow.cli import main
from visionflow.cli.app import app
from visionflow.core import Attention, Cut, Paid
from visionflow.methods import PlanFile, Schedule
from visionflow.methods.base import Ratio

DOCS = Path(__file__).parent.parent / "docs"


def test_the_code_of_the_embedded_model_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = re.search(r"```python\n(.*?)```", (DOCS / "embedded-model.md").read_text(), re.S)
    assert code is not None
    exec(code[1], {})
    assert re.fullmatch(r" ?(\w+) \('\1',\)\n", capsys.readouterr().out)  # its answer is the right one


def test_the_many_questions_of_their_page_are_answered_one_by_one_and_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", (DOCS / "many-questions.md").read_text(), re.S):
        exec(code, names)
    *alone, together = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1] for line in alone] == re.findall(r"\d+", together)
    assert len(alone) == 10
    assert names["trace"].image_tokens[-1] == 18  # of 144


def test_the_code_of_the_readme_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One snippet after the other, from the folder they stand in; where it says that patches are, there they are."""
    monkeypatch.chdir(DOCS.parent)
    first, *others = re.findall(r"```python\n(.*?)```", (DOCS.parent / "README.md").read_text(), re.S)
    names: dict[str, Any] = {}
    exec(first, names)
    answer, patches = capsys.readouterr().out.splitlines()
    assert answer.strip() == "3"
    kept = names["trace"].stages[-1].kept[0]
    assert [12 + 12 * row + column for row, column in ast.literal_eval(patches)] == kept.tolist()
    assert (names["inputs"]["input_ids"][0] == names["model"].config.image_token_id).nonzero()[0] == 12
    assert len(others) >= 2
    for code in others:
        exec(code, names)
    assert names["profile"].s_img.shape[-1] == 12


def test_the_new_method_of_the_design_page_runs(model: PreTrainedModel) -> None:
    code = re.search(r"## A new method\n\n```python\n(.*?)```", (DOCS / "design.md").read_text(), re.S)
    assert code is not None
    names: dict[str, Any] = {
        "dataclass": dataclass, "ClassVar": ClassVar, "Method": Method, "Cut": Cut, "Paid": Paid,
        "Attention": Attention, "Ratio": Ratio,
    }  # fmt: skip
    exec(code[1], names)
    with prune(model, names["KeepLargestReaders"](2, 0.5)) as trace, torch.no_grad():
        model(**prompt(3, "image", 6).inputs)
    assert trace.image_tokens[:, 0].tolist() == [25, 25, 13, 13, 13, 13]


def test_the_visipruner_of_the_readme_runs(model: PreTrainedModel) -> None:
    """On several prompts."""
    code = re.search(
        r"```python\n(from visionflow import VisiPruner.*?)```", (DOCS.parent / "README.md").read_text(), re.S
    )
    assert code is not None
    batches = [batch_of([prompt(4, "image", 5 + n, seed=n) for n in range(4)])]
    names: dict[str, Any] = {"model": model, "batches": batches, "inputs": batches[0]}
    exec(code[1].replace("batches = [inputs]", ""), names)
    assert isinstance(names["method"], VisiPruner)
    assert [sample.firing_layer is not None for sample in names["trace"].decisions[-1].samples].count(True) >= 3


def test_the_cost_page_shows_what_the_command_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = re.findall(r"```\n\$ visionflow (flops.*?)\n(.*?)```", (DOCS / "cost.md").read_text(), re.S)
    assert len(shown) == 3
    for arguments, expected in shown:
        monkeypatch.setattr("sys.argv", ["visionflow", *arguments.split()])
        monkeypatch.setenv("COLUMNS", "80")
        with pytest.raises(SystemExit):
            main()
        printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
        assert [line for line in expected.splitlines() if line not in printed] in ([], ["..."])


def test_the_thresholds_of_the_study_run(capsys: pytest.CaptureFixture[str]) -> None:
    script = runpy.run_path(str(DOCS / "study" / "visipruner.py"))
    script["thresholds"](prompts=2)
    printed = capsys.readouterr().out
    assert re.search(r"layer_threshold 0\.\d+, token_threshold 0\.0\d+", printed)
    assert re.search(r"all +│ 10 +│ 90%", printed)


def test_the_decisions_of_the_study_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two prompts in which something fires, one of them with an exit, and one in which nothing does."""
    decided = [
        {"firing_layer": 3, "exit_layer": 6, "kept": [14, 15]},
        {"firing_layer": 1, "exit_layer": None, "kept": [14, 16, 20, 21]},
        {"firing_layer": None, "exit_layer": None, "kept": []},
    ]
    records = [{"task": "open", "rows": {"visipruner": {"decided": each}}} for each in decided]
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    runpy.run_path(str(DOCS / "study" / "visipruner.py"))["decisions"](tmp_path, "visipruner")
    line = next(line for line in capsys.readouterr().out.splitlines() if "open" in line)
    assert [cell.strip() for cell in line.split("│")[1:-1]] == [
        "open",
        "3",
        "67%",
        "1: 1, 3: 1",
        "3",
        "3.0",
        "33%",
        "6: 1",
    ]


def test_the_speed_of_the_study_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """At a width that takes no time; what the layers share is one set of weights."""
    make = SHAPES["llava-1b"][1]
    monkeypatch.setitem(SHAPES, "tiny", (32, lambda layers: _tiny(make(layers))))
    script = runpy.run_path(str(DOCS / "study" / "visipruner_speed.py"))
    model = script["repeated_layer"]("tiny", 16)
    assert sum(weight.numel() for weight in model.get_decoder().layers.parameters()) < 20_000
    assert [layer.self_attn.layer_idx for layer in model.get_decoder().layers] == list(range(16))
    script["main"](layers=16, rounds=2, image_tokens=16, text_tokens=10, shape="tiny", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["looks"] == 9  # layers 3 to 11: fires at 7, exits four layers later
    assert found["bound"] > 1
    assert len(found["clocks"]["wall"]["dense"]["values"]) == 2
    script["show"](found)
    assert "9 looks take" in capsys.readouterr().out


def _tiny(config: Any) -> Any:
    for part, fields in ((config.text_config, ("hidden_size", 32)), (config.vision_config, ("hidden_size", 16))):
        setattr(part, *fields)
        part.intermediate_size, part.num_attention_heads = 32, 4
    config.text_config.num_key_value_heads, config.text_config.head_dim, config.text_config.vocab_size = 2, 8, 32064
    config.vision_config.num_hidden_layers = 2
    return config


@pytest.mark.slow
def test_the_script_of_the_study_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a handful of questions: the figure is drawn, and the table says what the data do."""
    script = runpy.run_path(str(DOCS / "study" / "lenses.py"))
    script["main"](limit=8, captions=1, out=tmp_path)
    found = json.loads((tmp_path / "lenses.json").read_text())
    assert 1 <= found["samples"] <= 8
    assert [row.pop("layer") for row in found["layers"]] == list(range(12))
    for row in found["layers"]:
        assert row.keys() == script["COLUMNS"].keys()
        assert all(each["low"] <= each["value"] <= each["high"] for each in row.values())
    assert found["layers"][-1]["answer_on_top"]["value"] == 1  # only questions answered rightly are followed
    named = found["captions"]["naming_every_object_with_keys_withheld_in"]
    assert list(named) == ["none", "first half", "last half", "all"]
    exact = found["captions"]["naming_exactly_what_is_there_with_keys_withheld_in"]
    assert all(exact[name] <= named[name] for name in named)
    with Image.open(tmp_path / "lenses.png") as figure:
        assert figure.size == (1950, 570)
    assert f"{found['samples']} questions that need the picture" in capsys.readouterr().out


def test_the_commands_of_the_tuning_page_are_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their options are read as they stand, and nothing is run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tuned").mkdir()
    for budget in ("0.5", "0.33", "0.25"):
        PlanFile.of(Schedule(("1/text/0.5",)), 8, "llava").write(tmp_path / "tuned" / f"plan-{budget}.json")
    group: Any = typer.main.get_command(app)
    shown = re.findall(r"^visionflow (.*)$", (DOCS / "tuning.md").read_text(), re.M)
    assert {line.split()[0] for line in shown} == {"tune", "ask", "eval", "serve", "flops", "frontier"}
    for line in shown:
        command, *arguments = shlex.split(line, comments=True)
        group.commands[command].make_context(command, arguments)


def test_the_code_of_the_tuning_page_runs(
    model: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", (DOCS / "tuning.md").read_text(), re.S)
    assert code is not None
    batches = [prompt(4, "image", 7, seed=seed).inputs for seed in range(2)]
    few: dict[str, Any] = {"budget": 0.8, "choices": ("text",), "new_tokens": 1, "minutes": 0.02}
    exec(code[1].replace("budget=0.33", "**few"), {"model": model, "batches": batches, "few": few})
    assert PlanFile.read(tmp_path / "plan.json").num_layers == 6
