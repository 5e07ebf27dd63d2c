"""`visionflow lens`, as a user types it, on a tiny LLaVA with random weights."""

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.running import Run
from tests.tiny import LAYERS, PER_IMAGE
from visionflow.cli.lens import _demo_picture
from visionflow.flow import logit_lens, picture_attention, sinks, value_norms, value_output_lens
from visionflow.loading import models
from visionflow.loading.models import Loaded
from visionflow.loading.prompts import make_prompt
from visionflow.report.figures.lens import FIGURES
from visionflow.report.lens import ATTENTION_ABOVE, NORM_BELOW

QUESTION = "w5 w6 w7"
HEADS = 4


@pytest.fixture(scope="module")
def loaded(checkpoint: Path) -> Loaded:
    return models.load_model(str(checkpoint), device="cpu")


@pytest.fixture
def lens(visionflow: Run, loaded: Loaded, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run it in a folder with a picture, on a model that is loaded once."""
    monkeypatch.chdir(tmp_path)
    Image.linear_gradient("L").convert("RGB").resize((60, 40)).save("wide.png")
    monkeypatch.setattr(models, "load_model", lambda *args: loaded)
    return partial(visionflow, "lens", "--model", checkpoint)


def test_json_is_what_the_analyses_find(lens: Run, loaded: Loaded, checkpoint: Path) -> None:
    code, out, err = lens("wide.png", QUESTION, "--heads", "--json")
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert (told["image"], told["question"], told["model"]) == ("wide.png", QUESTION, str(checkpoint))
    assert (told["dtype"], told["device"], told["figures"]) == ("float32", "cpu", [])
    assert told["tokens"] == {"system": 2, "image": PER_IMAGE, "instruction": 4}

    inputs = make_prompt(loaded.model, loaded.processor, [Image.open("wide.png")], QUESTION)
    words = logit_lens(loaded.model, inputs)
    assert [row["depth"] for row in told["depths"]] == list(range(LAYERS + 1))
    assert [row["ids"] for row in told["depths"]] == words.ids[0].tolist()
    assert [row["probabilities"] for row in told["depths"]] == words.probabilities[0].tolist()
    assert told["depths"][3]["words"] == [loaded.processor.tokenizer.decode([token]) for token in words.ids[0, 3]]
    with torch.no_grad():
        assert told["first_word"]["id"] == int(loaded.model(**inputs).logits[0, -1].argmax())

    attention, values = picture_attention(loaded.model, inputs), value_norms(loaded.model, inputs)
    assert [row["layer"] for row in told["layers"]] == list(range(LAYERS))
    for place, row in enumerate(told["layers"]):
        assert row["attention"] == {
            "image": float(attention.image_mass[0, place]),
            "system": float(attention.system_mass[0, place]),
            "instruction": float(attention.instruction_mass[0, place]),
        }
        assert row["attention_on_image_tokens"] == attention.image[0][place].tolist()
        assert row["value_norms"] == values.norms[0][place].tolist()
    assert [(row["layer"], row["head"]) for row in told["heads"]] == [
        (n, h) for n in range(LAYERS) for h in range(HEADS)
    ]
    assert told["heads"][9]["ids"] == value_output_lens(loaded.model, inputs).ids[0, 2, 1].tolist()


def test_sinks_are_counted_from_the_first_image_token(
    lens: Run, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The picture begins in column 2. With factors as wide as these there are some in a model of random weights."""
    monkeypatch.setattr("visionflow.report.lens.NORM_BELOW", 1.2)
    monkeypatch.setattr("visionflow.report.lens.ATTENTION_ABOVE", 1.1)
    told = json.loads(lens("wide.png", QUESTION, "--json")[1])
    inputs = make_prompt(loaded.model, loaded.processor, [Image.open("wide.png")], QUESTION)
    found = sinks(value_norms(loaded.model, inputs), 1.2, 1.1)
    assert any(row["sinks"] for row in told["layers"])
    assert [row["sinks"] for row in told["layers"]] == [(columns - 2).tolist() for columns in found.columns[0]]
    assert [row["sinks_share"] for row in told["layers"]] == found.shares[0].tolist()
    assert told["sink"] == {"norm_below": 1.2, "attention_above": 1.1}


def test_tables_for_people(lens: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = json.loads(lens("wide.png", QUESTION, "--heads", "--json")[1])
    code, out, err = lens("wide.png", QUESTION, "--heads")
    assert (code, err) == (0, "")
    says = told["first_word"]
    assert f"The answer begins with: {says['word']} ({says['probability']:.0%})\n" in out
    assert f"below {NORM_BELOW:g} of the median" in out
    assert f"{ATTENTION_ABOVE:g} times the mean" in " ".join(out.split())
    rows = [line.split() for line in out.splitlines()]
    layers = [row for row in rows if row and row[0] == "3"]
    assert len(layers) == 2  # what it says and looks at, what its heads write
    depth, layer = told["depths"][4], told["layers"][3]
    assert layers[0][1:3] == [depth["words"][0], f"({depth['probabilities'][0]:.0%})"]
    assert layers[0][-5:-2] == [f"{layer['attention'][name]:.0%}" for name in ("image", "system", "instruction")]
    assert layers[0][-2] == str(len(layer["sinks"]))
    heads = [row["words"][0] for row in told["heads"] if row["layer"] == 3]
    assert layers[1][2::3] == heads
    assert max(map(len, out.splitlines())) <= 80


def test_heads_are_told_only_on_demand(lens: Run) -> None:
    assert "heads" not in json.loads(lens("wide.png", QUESTION, "--json")[1])
    assert "each head" not in lens("wide.png", QUESTION)[1]


def test_figures_are_written_and_replaced(lens: Run, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "figures"
    folder.mkdir(parents=True)
    (folder / "lens.png").write_bytes(b"old")
    code, out, err = lens("wide.png", QUESTION, "--out", "new/figures", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["figures"] == [f"new/figures/{name}" for name in FIGURES]
    for name in FIGURES:
        with Image.open(folder / name) as figure:
            assert (figure.format, np.asarray(figure.convert("L")).std() > 5) == ("PNG", True)


def test_figures_are_named_at_the_end(lens: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("visionflow.report.lens.save", lambda figure, path: None)
    out = lens("wide.png", QUESTION, "--out", "a/new/folder")[1]
    assert out.endswith("figures: a/new/folder/attention.png, a/new/folder/sinks.png, a/new/folder/lens.png\n")
    assert (tmp_path / "a" / "new" / "folder").is_dir()


def test_without_a_picture_it_is_the_demo(lens: Run) -> None:
    told = json.loads(lens("--json")[1])
    assert (told["image"], told["question"]) == ("the demo's picture", "How many red objects are there?")
    example = Path(__file__).parents[2] / "examples" / "scene.png"
    with Image.open(example) as picture:
        assert np.abs(np.asarray(picture).astype(int) - np.asarray(_demo_picture())).mean() < 0.5


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nothing.png", "q"], "no such file: nothing.png"),
        (["How many?"], 'ask something about How many?: visionflow lens How many? "question"'),
        (["wide.png", "  "], "the question is empty"),
        (["wide.png", "what is <image>"], "<image>, which stands for a picture"),
        (["wide.png", "q " * 600], "is more than the model's 512 positions: ask a shorter question\n"),
        (["wide.png", "q", "--threads", "0"], "'--threads': it must be a whole number from 1 to 1024, not '0'"),
        (["wide.png", "q", "--out", "wide.png"], "is a file: choose another --out"),
        (["wide.png", "q", "--out", "wide.png/figures"], "wide.png is a file: choose another --out"),
        (["wide.png", "q", "--out", "x" * 300], "is no valid path"),
        (["lens.png", "q", "--out", "."], "lens.png is the picture itself"),
        (["wide.png", "q", "--layers", "3"], "No such option"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(args: list[str], message: str, lens: Run, tmp_path: Path) -> None:
    (tmp_path / "lens.png").write_bytes((tmp_path / "wide.png").read_bytes())
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    code, out, err = lens(*args)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("visionflow: ")
    assert message in err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_without_matplotlib_nothing_is_begun(lens: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, out, err = lens("wide.png", QUESTION, "--out", "figures", "--device", "no")  # which is refused when loading
    assert (code, out) == (2, "")
    assert err == "visionflow: the figures need the package matplotlib: pip install 'visionflow[eval]'\n"
    assert not (tmp_path / "figures").exists()
    assert lens("wide.png", QUESTION)[0] == 0  # tables need none


def test_too_little_memory_is_one_line(lens: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nSee the manual.")

    monkeypatch.setattr("visionflow.report.lens.picture_attention", fails)
    code, out, err = lens("wide.png", QUESTION)
    assert (code, out) == (2, "")
    assert err == "visionflow: out of memory on cpu: try a smaller model, --dtype bfloat16, or --device cpu\n"


@pytest.mark.parametrize("broken", ["pathlib.Path.mkdir", "matplotlib.figure.Figure.savefig"])
def test_a_folder_that_cannot_be_written(lens: Run, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, say: only the writing tells."""

    def fails(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(broken, fails)
    code, out, err = lens("wide.png", QUESTION, "--out", "figures")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "No space left on device): choose another --out" in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(lens: Run, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    code, _, err = lens("wide.png", QUESTION, "--out", "locked/figures")
    assert (code, "no permission" in err) == (2, True)


def test_the_help_says_what_it_does(lens: Run) -> None:
    code, out, _ = lens("--help")
    said = " ".join(out.replace("│", " ").split())
    assert code == 0
    assert "Usage: visionflow lens [OPTIONS] [IMAGE] [QUESTION]" in said
    for text in (
        "what the model would say after each layer",
        "--heads",
        "attention.png, sinks.png",
        "[default: (a demo)]",
    ):
        assert text in said
