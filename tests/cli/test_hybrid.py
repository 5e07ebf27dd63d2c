"""Every command that runs a model, on a tiny Qwen3.5, most of whose layers do not attend."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.running import Run
from tests.zoo import ZOO
from tests.zoo.kit import save
from tests.zoo.kits import KITS
from visionflow.evaluation import runner
from visionflow.tuning import search, space

pytestmark = pytest.mark.skipif(find_spec("torchvision") is None, reason="its video processor needs torchvision")


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(ZOO["qwen3_5"], KITS["qwen3_5"], tmp_path_factory.mktemp("qwen3_5") / "model")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "LONGEST", dict.fromkeys(runner.LONGEST, 2))
    monkeypatch.setattr(search, "PATIENCE", 2)
    monkeypatch.setattr(search, "FINALISTS", 2)
    monkeypatch.setattr(space, "MOST_LAYERS", 2)
    Image.linear_gradient("L").convert("RGB").resize((60, 40)).save("wide.png")
    lines = (json.dumps({"image": "wide.png", "question": f"w{n} w6"}) for n in (12, 13, 14, 15))
    Path("prompts.jsonl").write_text("\n".join(lines))


TUNE = ("tune", "--prompts", "prompts.jsonl", "--budget", 0.7, "--limit", 2, "--validation", 2, "--batch", 2)


@pytest.mark.parametrize(
    "asked",
    [
        ("ask", "wide.png", "w12 w13", "--max-new-tokens", 2, "--method", "himap"),
        ("eval", "--limit", 2, "--tasks", "open", "--methods", "fastv", "--batch", 2),
        ("bench", "--image-tokens", 16, "--text-tokens", 8, "--methods", "fastv:k=2", "--repeats", 1),
        (*TUNE, "--new-tokens", 1, "--choices", "text"),
        ("look", "wide.png", "w12 w13", "--max-new-tokens", 2),
        ("lens", "wide.png", "w12 w13"),
    ],
    ids=lambda asked: asked[0],
)
def test_a_command_runs_on_a_hybrid(asked: tuple[str, ...], hybrid: Path, visionflow: Run) -> None:
    code, out, err = visionflow(*asked, "--model", hybrid, "--json")
    assert (code, err) == (0, "")
    assert isinstance(json.loads(out), dict)
