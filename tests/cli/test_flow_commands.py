"""`visionflow saliency` and `visionflow disrupt`, as a user types them, on a tiny LLaVA with random weights."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli.running import Run
from tests.tiny import LAYERS
from visionflow.evaluation import flow_runs
from visionflow.flow.saliency_measures import MEASURES

QUICK = ("--limit", 4, "--tasks", "choice,existence", "--batch", 2, "--all")


@pytest.fixture
def on_tiny(checkpoint: Path, visionflow: Run) -> Run:
    def run(command: str, *args: object) -> tuple[int, str, str]:
        return visionflow(command, "--model", checkpoint, *args)

    return run


def drawn(path: Path) -> bool:
    """Whether there is a picture that shows something."""
    with Image.open(path) as picture:
        colours = picture.convert("RGB").getcolors(picture.width * picture.height)
    return colours is not None and len(colours) > 50


def test_saliency_as_json_with_figures(on_tiny: Run, tmp_path: Path) -> None:
    code, out, err = on_tiny("saliency", *QUICK, "--json", "--out", tmp_path / "run")
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert (told["samples"], told["objective"], told["convention"]) == (4, "loss", "paper")
    assert [row["layer"] for row in told["layers"]] == list(range(LAYERS))
    for row in told["layers"]:
        for name in MEASURES:
            low, high = row["interval"][name]
            assert 0 <= low <= row[name] <= high
    assert {length["image"] for length in told["lengths"]} == {25}
    assert drawn(tmp_path / "run" / "saliency.png")
    assert drawn(tmp_path / "run" / "lengths.png")


def test_saliency_for_people(on_tiny: Run) -> None:
    code, out, err = on_tiny("saliency", *QUICK, "--objective", "margin", "--convention", "released", "--normalised")
    assert (code, err) == (0, "")
    for text in ("4 of 4 questions", "margin", "released", "S_vt", "bootstrap", "--out"):
        assert text in " ".join(out.split())  # lines break where the path of the model ends


def test_disruptions_of_the_paper_with_figures(on_tiny: Run, tmp_path: Path) -> None:
    code, out, err = on_tiny("disrupt", *QUICK, "--json", "--out", tmp_path / "run")
    told = json.loads(out)
    assert (code, err) == (0, "")
    fourth = [(row["target"], row["layers"]) for row in told["disruptions"][:4]]
    assert fourth == [(target, part) for part in ([0, 1, 2], [3, 4, 5]) for target in ("instruction", "random")]
    assert [row["layers"] for row in told["windows"]] == [[layer, layer + 1] for layer in range(LAYERS - 1)]
    for row in told["disruptions"]:
        assert 0 <= row["score_consistency"]["low"] <= row["score_consistency"]["value"] <= 1
    assert drawn(tmp_path / "run" / "disruption.png")
    assert drawn(tmp_path / "run" / "shift.png")


def test_one_disruption_of_ones_own(on_tiny: Run) -> None:
    options = ("--source", "system", "--target", "image", "--layers", "0-1,4", "--mode", "zero", "--json")
    code, out, err = on_tiny("disrupt", *QUICK, *options)
    told = json.loads(out)
    assert (code, err) == (0, "")
    [row] = told["disruptions"]
    assert (row["source"], row["target"], row["layers"], row["mode"]) == ("system", "image", [0, 1, 4], "zero")
    assert told["windows"] == []


def test_disruptions_for_people(on_tiny: Run) -> None:
    code, out, err = on_tiny("disrupt", *QUICK, "--layers", "0-5")
    assert (code, err) == (0, "")
    for text in ("4 of 4 questions", "renormalise", "0-5", "Jaccard", "score %"):
        assert text in " ".join(out.split())


def test_a_stopped_run_goes_on_and_ends_the_same(on_tiny: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saliency = partial(on_tiny, "saliency", *QUICK, "--json")
    whole = saliency()
    run_batch, batches = flow_runs.run_batch, []

    def stopped(*args: Any) -> Any:
        if batches:
            raise KeyboardInterrupt
        batches.append(args)
        return run_batch(*args)

    with monkeypatch.context() as patch:
        patch.setattr(flow_runs, "run_batch", stopped)
        code, out, err = saliency("--out", tmp_path / "run")
    assert (code, out) == (130, "")
    assert err == f"visionflow: stopped after 2 of 4 questions; the same command goes on from {tmp_path / 'run'}\n"
    assert saliency("--out", tmp_path / "run") == whole
    code, out, err = on_tiny("saliency", *QUICK, "--objective", "logit", "--out", tmp_path / "run")
    assert code == 2
    assert "choose another --out" in err


@pytest.mark.parametrize(
    ("command", "options", "says"),
    [
        ("saliency", ("--objective", "loss2"), "unknown objective 'loss2': choose one of loss, logit, margin"),
        ("saliency", ("--convention", "printed"), "unknown convention 'printed': choose one of paper, released"),
        ("saliency", ("--tasks", "open", "--all"), "has no token for the answer"),
        (
            "saliency",
            ("--tasks", "caption", "--all"),
            "unknown task 'caption': choose one of choice, science, existence, open",
        ),
        ("saliency", ("--tasks", "existence"), "raise --limit, or take --all"),
        ("disrupt", ("--layers", "0-", "--all"), "it is a list of whole numbers like 1,2,4 or 0-4,7, not '0-'"),
        ("disrupt", ("--layers", "0-9", "--all"), "layers 0 to 5"),
        ("disrupt", ("--layers", "1", "--target", "picture"), "target"),
        ("disrupt", ("--mode", "half"), "mode"),
        ("disrupt", ("--target", "image"), "--target does nothing without --layers"),
        ("disrupt", ("--layers", "1", "--width", "2"), "--width does nothing beside --layers"),
        ("disrupt", ("--width", 7), "a window of 7 layers does not fit a model of 6"),
    ],
)
def test_wrong_input_is_told_in_one_line(on_tiny: Run, command: str, options: tuple[object, ...], says: str) -> None:
    code, out, err = on_tiny(
        command, "--limit", 2, *(() if "--tasks" in options else ("--tasks", "existence")), *options
    )
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_without_matplotlib_nothing_is_begun(on_tiny: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, out, err = on_tiny("saliency", "--suite", "nothing")  # which is refused when the questions are sought
    assert (code, out) == (2, "")
    assert err == "visionflow: the figures need the package matplotlib: pip install 'visionflow[eval]'\n"
