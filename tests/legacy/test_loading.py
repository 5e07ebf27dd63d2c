"""`visionflow ask --model DIR` on the original files; nothing of this is imported until a checkpoint asks for it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.running import Run
from tests.legacy import originals
from tests.legacy.conftest import System
from visionflow.errors import UnsupportedModelError, VisionFlowError
from visionflow.legacy import MobileVLM, QwenVL
from visionflow.loading.models import load_model


def test_load_model_takes_the_original_files(mobile: System, qwen: System) -> None:
    for system, kind in ((mobile, MobileVLM), (qwen, QwenVL)):
        loaded = load_model(str(system.directory), device="cpu")
        assert isinstance(loaded.model, kind)
        assert loaded.processor.chat_template == system.processor.chat_template


def test_load_model_takes_what_was_saved(system: System, tmp_path: Path) -> None:
    system.model.save_pretrained(tmp_path)
    system.processor.save_pretrained(tmp_path)
    assert type(load_model(str(tmp_path), device="cpu").model) is type(system.model)


def test_ask(system: System, visionflow: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.linear_gradient("L").convert("RGB").resize((60, 40)).save("picture.png")
    arguments = ("ask", "picture.png", "is the cat", "--model", system.directory, "--json", "--max-new-tokens", 2)
    code, out, err = visionflow(*arguments)
    assert (code, err) == (0, "")
    tokens, n = json.loads(out)["image_tokens"], system.per_image
    assert tokens == [n, n // 2, n // 2, n // 8, n // 8, n // 8]
    assert Path("picture.kept.png").is_file()


def test_ask_says_in_one_line_why_not(visionflow: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (20, 20)).save("picture.png")
    v1 = originals.write_mobilevlm(tmp_path / "v1", mm_projector_type="ldpnet")
    code, out, err = visionflow("ask", "picture.png", "what?", "--model", v1)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert f"cannot use {v1}: mm_projector_type is 'ldpnet'" in err


def test_load_model_says_which_weight_is_missing(qwen: System, tmp_path: Path) -> None:
    weights = {name: weight for name, weight in qwen.weights.items() if name != "transformer.ln_f.weight"}
    originals.write_qwen(tmp_path, weights)
    with pytest.raises(VisionFlowError, match=r"1 weights missing, for example model\.language_model\.norm\.weight"):
        load_model(str(tmp_path), device="cpu")


def test_load_model_says_that_it_is_the_base_model(qwen: System, tmp_path: Path) -> None:
    originals.write_qwen(tmp_path, qwen.weights)
    originals.write_json(tmp_path / "generation_config.json", {"chat_format": "raw"})
    with pytest.raises(UnsupportedModelError, match="use Qwen-VL-Chat"):
        load_model(str(tmp_path), device="cpu")


@pytest.mark.slow
def test_it_is_not_imported_by_default_and_importing_it_is_enough(qwen: System) -> None:
    code = (
        "import sys, visionflow.cli, visionflow.pruning, visionflow.loading.models\n"
        "import visionflow.engines.hf.families as f\n"
        "print('visionflow.legacy' in sys.modules, 'mobilevlm' in f.FAMILIES, 'qwen' in f.FAMILIES)\n"
        "import visionflow.legacy; from transformers import AutoConfig\n"
        "print(type(AutoConfig.from_pretrained(sys.argv[1])).__name__)"
    )
    arguments = [sys.executable, "-c", code, str(qwen.directory)]
    run = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False", "False", "QwenVLConfig"]
