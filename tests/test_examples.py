"""Every script in examples/ runs as it stands, and shows what it says that it shows."""

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, ProcessorMixin

import visionflow.checkpoint
from visionflow.cli import main

FOLDER = Path(__file__).parent.parent / "examples"
Run = Callable[[str], tuple[dict[str, Any], list[str]]]


@pytest.fixture(scope="module")
def loaded() -> tuple[PreTrainedModel, ProcessorMixin]:
    return visionflow.checkpoint.load_embedded()


@pytest.fixture
def run(
    loaded: tuple[PreTrainedModel, ProcessorMixin], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs a script on one embedded model, read once; gives its names and the lines that it printed."""
    monkeypatch.setattr(visionflow.checkpoint, "load_embedded", lambda: loaded)

    def script(name: str) -> tuple[dict[str, Any], list[str]]:
        names = runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        return names, capsys.readouterr().out.splitlines()

    return script


def test_a_test_here_runs_each_of_them() -> None:
    assert {f"test_{file.stem}" for file in FOLDER.glob("*.py")} <= globals().keys()


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda file: file.stem)
def test_it_is_short_and_says_how_it_is_run(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) <= 50
    assert f"python examples/{file.name}" in text.splitlines()[0]


def test_prune(run: Run) -> None:
    names, printed = run("prune")
    assert [line.split(":")[0] for line in printed] == ["answer", "image tokens in each layer", "FLOPs of the prefill"]
    assert names["trace"].image_tokens[:, 0].tolist() == [144] * 2 + [72] * 6 + [36] * 4
    assert names["trace"].cost("flops").ratio < 0.6


def test_batch(run: Run) -> None:
    names, printed = run("batch")
    found = [re.search(r"\((\d+) image tokens kept, (\d+)% of the dense FLOPs\)$", line) for line in printed]
    assert [(each[1], each[2] == "100") for each in found if each] == [("36", False)] * 3 + [("0", True)]
    scene, mirrored, again, _ = (kept.tolist() for kept in names["trace"].stages[0].kept)
    assert scene != mirrored
    assert scene != again  # another question about the same picture


def test_streaming(run: Run) -> None:
    names, printed = run("streaming")
    assert printed[-1] == "36 of 144 image tokens in the last layer"
    with names["prune"](names["model"], names["HiMAP"](k1=2, r1=0.5, k2=8, r2=0.5)):
        out = names["model"].generate(**names["inputs"], max_new_tokens=60, do_sample=False)
    answer = out[0, names["inputs"]["input_ids"].shape[1] :]
    assert printed[:-1] == names["processor"].decode(answer, skip_special_tokens=True).splitlines()


def test_new_method(run: Run) -> None:
    names, [printed] = run("new_method")
    assert len(names["trace"].stages[0].kept[0]) == len(re.findall(r"\(\d+, \d+\)", printed)) == 36


def test_saliency(run: Run) -> None:
    names, printed = run("saliency")
    assert len(printed) == 1 + 12
    assert len({len(line) for line in printed}) == 1  # the columns stand under their names
    assert [float(line.split()[2]) for line in printed[1:]] == pytest.approx(names["profile"].s_img.tolist(), abs=1e-4)


def test_ten_questions(run: Run) -> None:
    names, printed = run("ten_questions")
    assert [line.split(":")[0] for line in printed[:-1]] == list(names["things"])
    assert all(line.split(": ")[1] for line in printed[:-1])
    assert names["trace"].image_tokens[:, 0].tolist() == [144] * 2 + [72] * 6 + [18] * 4
    assert printed[-1].endswith("18 image tokens stayed in the last layer")


def test_page_vectors(run: Run) -> None:
    """Vectors of kept tokens alone, of length 1; an index a third of the size."""
    names, printed = run("page_vectors")
    assert printed[0].startswith("49 of 144 vectors a page")
    assert 0.3 < names["size"] < 0.36
    assert all(torch.allclose(page.norm(dim=1), torch.ones(49)) for page in names["index"])


@pytest.mark.slow
def test_the_notebook_shows_a_page(
    loaded: tuple[PreTrainedModel, ProcessorMixin], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(visionflow.checkpoint, "load_embedded", lambda: loaded)
    monkeypatch.chdir(FOLDER)
    names: dict[str, Any] = {}
    for cell in json.loads((FOLDER / "look.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert names["report"]._repr_html_().startswith("<iframe")
    assert names["trace"]._repr_html_().startswith("<table><caption>Prefill of the prompt<")
    assert names["profile"]._repr_html_().startswith("<table><caption>Saliency of one prompt ")
    assert len(names["shares"]) == 12
    assert all(0 < share < 1 for share in names["shares"])
    assert capsys.readouterr().out.startswith("HiMAP(")


def test_a_command_takes_the_new_method(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As the file says that it does, from the folder it is in."""
    shown = re.search(r": visionflow (flops .*)$", (FOLDER / "new_method.py").read_text(), re.M)
    assert shown is not None
    monkeypatch.chdir(FOLDER)
    monkeypatch.setattr("sys.argv", ["visionflow", *shown[1].split()])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    assert "method popular k=3 r=0.75" in capsys.readouterr().out
