"""Commands on models whose pictures become tiles (LLaVA-NeXT) or a pooled square (Gemma 3): all that can be done is."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.running import Run
from tests.matrix import quick_or_slow
from tests.tiny_processor import PROCESSORS, save_zoo
from visionflow.report.figures.lens import FIGURES

WHY = "where the image tokens of a llava_next lie in the picture is not known here"


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of each."""
    return {name: save_zoo(tmp_path_factory.mktemp(name), name) for name in PROCESSORS}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of each test, with a picture in it."""
    monkeypatch.chdir(tmp_path)
    Image.linear_gradient("L").convert("RGB").resize((60, 40)).save("wide.png")
    return tmp_path


@pytest.mark.parametrize(("name", "image_tokens"), [("llava_next", 14), ("gemma3", 9)])
def test_ask_answers_and_draws_where_it_can(
    name: str, image_tokens: int, visionflow: Run, models: dict[str, Path], folder: Path
) -> None:
    args = ("ask", "wide.png", "w5 w6", "--model", models[name], "--method", "fastv", "--max-new-tokens", 2)
    code, out, err = visionflow(*args, "--json")
    facts = json.loads(out)
    assert (code, err) == (0, "")
    assert facts["image_tokens"][0] == image_tokens
    drawn = name == "gemma3"
    assert (facts["overlay"], facts["undrawn"]) == (("wide.kept.png", "") if drawn else (None, WHY))
    assert (folder / "wide.kept.png").is_file() == drawn
    [stage] = facts["stages"]
    first = stage["kept"][0] - stage["patches"][0][0] if drawn else None
    assert stage["patches"] == ([[column - first for column in stage["kept"]]] if first else None)
    assert drawn or f"not drawn: {WHY}" in " ".join(visionflow(*args)[1].split())


@pytest.mark.parametrize("name", quick_or_slow(PROCESSORS, ["llava_next"]))
def test_lens_draws_what_needs_no_places_and_says_so(
    name: str, visionflow: Run, models: dict[str, Path], folder: Path
) -> None:
    (folder / "figures").mkdir()
    (folder / "figures" / "attention.png").write_bytes(b"of another model")
    code, out, err = visionflow("lens", "wide.png", "w5 w6", "--model", models[name], "--out", "figures")
    assert (code, err) == (0, "")
    figures = FIGURES if name == "gemma3" else FIGURES[1:]
    assert out.partition("\nfigures: ")[2] == ", ".join(f"figures/{each}" for each in figures) + "\n" + (
        f"attention.png not drawn: {WHY}\n" if name == "llava_next" else ""
    )
    assert {path.name for path in (folder / "figures").iterdir()} == {*figures}


@pytest.mark.parametrize("name", quick_or_slow(PROCESSORS, ["gemma3"]))
def test_lens_tells_everything(name: str, visionflow: Run, models: dict[str, Path], folder: Path) -> None:
    args = ("lens", "wide.png", "w5 w6", "--model", models[name], "--out", "figures", "--json")
    code, out, err = visionflow(*args)
    assert (code, err) == (0, "")
    figures = FIGURES if name == "gemma3" else FIGURES[1:]
    told = json.loads(out)
    assert told["figures"] == [f"figures/{each}" for each in figures]
    assert {path.name for path in (folder / "figures").iterdir()} == {*figures}
    assert told["undrawn"] == ("" if name == "gemma3" else WHY)
    assert len(told["layers"]) == 6


@pytest.mark.parametrize("name", PROCESSORS)
def test_flows_are_followed(name: str, visionflow: Run, models: dict[str, Path], folder: Path) -> None:
    """Layers 2 and 5 of this Gemma 3 read all there is; the windows of the others are shorter than the picture."""
    asked = ("--model", models[name], "--limit", 4, "--all", "--tasks", "choice,existence", "--json")
    code, out, err = visionflow("saliency", *asked, "--out", "saliency")
    assert (code, err, json.loads(out)["samples"]) == (0, "", 4)
    assert (folder / "saliency" / "saliency.png").is_file()
    code, out, err = visionflow("disrupt", *asked, "--layers", "2,5")
    assert (code, err, json.loads(out)["samples"]) == (0, "", 4)
