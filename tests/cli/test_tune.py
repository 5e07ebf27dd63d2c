"""`visionflow tune` and `visionflow frontier`, as a user types them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cli.running import Run
from visionflow.cost import DecoderShape, cost_of
from visionflow.evaluation import runner
from visionflow.loading.models import load_config
from visionflow.methods import PlanFile, Schedule, parse
from visionflow.serving.settings import Settings
from visionflow.tuning import search as searching
from visionflow.tuning import space


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with prompts of the tiny model's words, and a search of few steps."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(4):
        pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        lines.append(json.dumps({"image": f"{number}.png", "question": f"w{5 + number} w{6 + number}"}))
    (tmp_path / "prompts.jsonl").write_text("\n".join(lines) + "\n\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(searching, "PATIENCE", 2)
    monkeypatch.setattr(searching, "FINALISTS", 2)
    monkeypatch.setattr(space, "MOST_LAYERS", 2)
    monkeypatch.setattr(space, "MORE_KEEPS", (0.0625,))
    return tmp_path


FEW = ("--limit", 2, "--validation", 2, "--batch", 2, "--new-tokens", 1, "--choices", "text")


@pytest.fixture
def plan(visionflow: Run, folder: Path, checkpoint: Path) -> dict[str, Any]:
    """What is printed of a tuned tiny model, whose plan is in tuned/plan-0.7.json."""
    asked = ("--model", checkpoint, "--prompts", "prompts.jsonl", "--budget", 0.7, "--json")
    code, out, err = visionflow("tune", *asked, *FEW)
    assert (code, err) == (0, "")
    told: dict[str, Any] = json.loads(out)
    return told


def test_a_plan_is_found_written_and_taken_everywhere(
    visionflow: Run, folder: Path, checkpoint: Path, plan: dict[str, Any]
) -> None:
    file = Path(plan["plan"])
    assert file == Path("tuned/plan-0.7.json")
    saved = parse(file).of(6, architecture="llava")
    assert saved.spec == plan["method"]
    shape = DecoderShape.from_config(load_config(str(checkpoint)))
    assert plan["cost"] <= 0.7
    assert plan["prompts"] == {"tuning": 2, "validation": 2}
    assert cost_of(saved, shape, "flops", image_tokens=25, text_tokens=9).ratio == pytest.approx(plan["cost"], abs=0.05)

    code, out, err = visionflow("ask", "0.png", "w5", "--model", checkpoint, "--method", file, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["method"] == str(saved)
    code, out, err = visionflow("eval", "--model", checkpoint, "--limit", 4, "--methods", file, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["rows"][str(file)] == str(saved)
    assert Settings.read({"method": str(file)}, 6, (99,), 2048).plan == saved.plan()


def test_the_same_command_goes_on_and_another_budget_takes_what_is_measured(
    visionflow: Run, folder: Path, checkpoint: Path, plan: dict[str, Any]
) -> None:
    measured = (folder / "tuned" / "measured.jsonl").read_text()
    asked = ("--model", checkpoint, "--prompts", "prompts.jsonl", "--json", *FEW)
    code, out, err = visionflow("tune", "--budget", 0.7, *asked)
    assert (code, err) == (0, "")
    assert json.loads(out) == plan
    assert (folder / "tuned" / "measured.jsonl").read_text() == measured
    code, out, err = visionflow("tune", "--budget", 0.8, *asked)
    assert (code, err) == (0, "")
    assert (folder / "tuned" / "plan-0.8.json").exists()
    code, out, err = visionflow("tune", "--budget", 0.7, *asked, "--seed-of-nobody")
    assert code == 2
    code, out, err = visionflow("tune", "--budget", 0.7, *asked[:4], *FEW[:-4], "--new-tokens", 2)
    assert (code, out) == (2, "")
    assert "tuned belongs to another run, whose new_tokens is 1, not 2: choose another --out" in err


def test_a_budget_of_image_work_for_tune_frontier_and_eval(visionflow: Run, folder: Path, checkpoint: Path) -> None:
    """A fifth of what image tokens take, which no method reaches of all FLOPs where text is half of the prompt."""
    asked = ("--model", checkpoint, "--prompts", "prompts.jsonl", "--budget", 0.2, "--cost", "paper", "--json", *FEW)
    code, out, err = visionflow("tune", *asked)
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["plan"] == "tuned/plan-paper-0.2.json"
    assert told["cost"] <= 0.2
    assert told["cost_of"].startswith("multiply-adds of the image tokens")
    fair = (
        "--model",
        checkpoint,
        "--tasks",
        "open",
        "--limit",
        2,
        "--cost",
        "paper",
        "--methods",
        "fastv,vtw",
        "--json",
    )
    code, out, err = visionflow("frontier", told["plan"], *fair, "--budgets", "0.2", "--new-tokens", 1)
    assert (code, err) == (0, "")
    frontier = json.loads(out)
    assert frontier["cost_of"] == told["cost_of"]
    assert {point["series"] for point in frontier["points"] if point["cost"] <= 0.2} == {
        "tuned", "random", "grid", "unlike-mean", "fastv", "vtw",
    }  # fmt: skip
    code, out, err = visionflow("eval", *fair, "--budget", 0.2)
    assert (code, err) == (0, "")
    spent = json.loads(out)["tables"]["open"]["rows"]
    assert all(0.1 < spent[name]["paper_ratio"] <= 0.2 for name in ("grid", "fastv", "vtw"))
    assert all(spent[name]["flops_ratio"] > 0.2 for name in ("grid", "fastv", "vtw"))


def test_budgets_that_nothing_fits_are_refused_in_a_sentence(visionflow: Run, folder: Path, checkpoint: Path) -> None:
    asked = ("--model", checkpoint, "--tasks", "open", "--limit", 1, "--methods", "fastv", "--budgets", "0.0001")
    code, out, err = visionflow("frontier", *asked, "--cost", "paper", "--new-tokens", 1)
    assert (code, out) == (2, "")
    assert "no row fits a budget: random cannot get down to 0.0% of the image tokens' multiply-adds" in err


def test_people_are_told_what_it_is_and_what_to_do_with_it(visionflow: Run, folder: Path, checkpoint: Path) -> None:
    asked = ("--model", checkpoint, "--prompts", "prompts.jsonl", "--budget", 0.7, "--cost", "kv", *FEW)
    code, out, err = visionflow("tune", *asked)
    assert (code, err) == (0, "")
    said = " ".join(out.split())
    assert "of the image tokens stay, that the text after the picture reads most" in said
    assert "bytes of the prompt's KV cache; the budget is 70.0%" in said
    assert "visionflow eval --methods tuned/plan-kv-0.7.json" in said


def test_control_c_keeps_the_best_so_far(
    visionflow: Run, folder: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(self: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(searching.Search, "_validate", press)
    asked = ("--model", checkpoint, "--prompts", "prompts.jsonl", "--budget", 0.7, "--json", *FEW)
    code, out, err = visionflow("tune", *asked)
    assert (code, err) == (130, "visionflow: stopped; the same command goes on from tuned\n")
    told = json.loads(out)
    assert (told["stopped"], told["validated"]) == ("interrupted", False)
    assert parse("tuned/plan-0.7.json").of(6).spec == told["method"]


def test_the_real_command_refuses_in_one_line(folder: Path) -> None:
    command = [sys.executable, "-m", "visionflow", "tune", "--budget", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "visionflow: --budget must be more than 0\n"


def test_the_frontier_puts_a_plan_beside_methods_and_controls_at_the_same_cost(
    visionflow: Run, folder: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LONGEST", dict.fromkeys(runner.LONGEST, 2))
    PlanFile.of(Schedule(("1/text/0.4",)), 6, "llava").write(folder / "plan.json")
    asked = ("--model", checkpoint, "--tasks", "open", "--limit", 2, "--budgets", "0.9,0.8", "--methods", "fastv")
    code, out, err = visionflow("frontier", "plan.json", *asked, "--new-tokens", 1, "--right", "--json")
    assert (code, err) == (0, "")
    told = json.loads(out)
    found = {(point["series"], point["budget"]): point for point in told["points"]}
    rows = {(name, share) for name in ("random", "grid", "unlike-mean", "fastv") for share in (0.9, 0.8)}
    assert found.keys() == rows | {("tuned", None)}
    for (_, budget), point in found.items():
        assert point["cost"] <= (budget or 1)
        assert point["kl"] > 0
        assert 0 <= point["right"] <= 1
    assert found["tuned", None]["method"] == "schedule:steps=1/text/0.4"
    assert (folder / "frontier" / "frontier.png").stat().st_size > 10_000
    code, out, err = visionflow("frontier", "plan.json", *asked, "--new-tokens", 1, "--right")
    assert (code, err) == (0, "")
    assert "schedule:steps=1/text/0.4" in out
    assert "The figure is in frontier/frontier.png" in out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "Missing option '--budget'"),
        (["--budget", "1"], "of at least 0 and below 1"),
        (["--budget", "0.5", "--minutes", "0"], "--minutes must be more than 0"),
        (["--budget", "0.5", "--suite", "scenes", "--prompts", "prompts.jsonl"], "leave out one of them"),
        (["--budget", "0.5", "--prompts", "none.jsonl"], "cannot read none.jsonl"),
        (["--budget", "0.5", "--prompts", "0.png"], "cannot read 0.png"),
        (["--budget", "0.5", "--prompts", "bad.jsonl"], "line 2 of bad.jsonl is no prompt: write {"),
        (["--budget", "0.5", "--prompts", "empty.jsonl"], "empty.jsonl holds no prompts"),
        (["--budget", "0.5", "--prompts", "one.jsonl"], "1 prompts are too few"),
        (["--budget", "0.5", "--suite", "magic"], "unknown suite 'magic'"),
        (["--budget", "0.5", "--out", "prompts.jsonl"], "cannot be a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_refused(visionflow: Run, folder: Path, arguments: list[str], why: str) -> None:
    line = (folder / "prompts.jsonl").read_text().splitlines()[0]
    (folder / "one.jsonl").write_text(line)
    (folder / "bad.jsonl").write_text(line + '\n{"image": 3}\n')
    (folder / "empty.jsonl").write_text("\n")
    code, out, err = visionflow("tune", *arguments)
    assert (code, out) == (2, "")
    assert why in err
