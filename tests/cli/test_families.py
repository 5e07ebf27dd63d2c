"""`visionflow ask` and `visionflow eval` on a tiny checkpoint of every supported family, with its own processor.

Without torchvision most of them are refused, and what is tested is the one line that says so; see docs/processors.md.
"""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.running import Run
from tests.zoo import ZOO
from tests.zoo.kit import save
from tests.zoo.kits import KITS
from tests.zoo.processors import PAGE, missing_of, page
from visionflow.engines.hf.family_table import FAMILIES
from visionflow.evaluation import runner
from visionflow.loading.models import LEGACY_TYPES, NO_QUESTIONS, load_model

QUICK = ("llava", "gemma3", "internvl", "smolvlm", "qwen2_5_vl", "qwen3_vl", "got_ocr2", "paligemma", "qianfan_ocr")
families = pytest.mark.parametrize(
    "family", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in sorted(KITS)]
)


@pytest.fixture
def directory(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    gradient = Image.linear_gradient("L").convert("RGB")
    gradient.resize((60, 40)).save("wide.png")
    return save(ZOO[family], KITS[family], tmp_path / "model")


def is_refused(family: str, told: tuple[int, str, str]) -> bool:
    """Whether the family has to be refused here; then it was, in one line that names the way out."""
    code, out, err = told
    ways = [f"pip install {package}" for package in missing_of(family)] + [NO_QUESTIONS.get(family, "")]
    if not any(ways):
        assert (code, err) == (0, "")
        return False
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert any(way in err for way in ways if way)
    return True


@families
def test_ask_answers_or_says_what_to_install(family: str, directory: Path, visionflow: Run) -> None:
    options = ("--method", "fastv", "--max-new-tokens", 3)
    told = visionflow("ask", "wide.png", "w12 w13", "--model", directory, *options, "--json")
    if is_refused(family, told):
        return
    facts = json.loads(told[1])
    assert isinstance(facts["dense_answer"] + facts["pruned_answer"], str)
    assert facts["image_tokens"][0] > facts["image_tokens"][-1] > 0


@families
def test_eval_answers_or_says_what_to_install(
    family: str, directory: Path, visionflow: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LONGEST", dict.fromkeys(runner.LONGEST, 2))
    options = ("--limit", 2, "--tasks", "open", "--methods", "fastv", "--batch", 2)
    told = visionflow("eval", "--model", directory, *options, "--json")
    if is_refused(family, told):
        return
    assert set(json.loads(told[1])["tables"]["open"]["rows"]) == {"dense", "fastv"}


@pytest.mark.parametrize("family", ["llava"])
def test_pixels_are_those_of_pil_with_torchvision_and_without(family: str, directory: Path) -> None:
    assert type(load_model(str(directory)).processor.image_processor).__name__ == "CLIPImageProcessorPil"


def test_every_family_has_a_kit_and_a_row_of_the_page() -> None:
    assert KITS.keys() == FAMILIES.keys() - set(LEGACY_TYPES)
    assert page() == PAGE.read_text(encoding="utf-8")
