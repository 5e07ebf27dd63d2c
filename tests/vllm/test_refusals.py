"""What does not go together with pruning is told while vLLM makes its configuration, in one line: no worker starts."""

from pathlib import Path
from typing import Any

import pytest
from transformers import Gemma3Config
from vllm.engine.arg_utils import EngineArgs

from tests.vllm.conftest import Checkpoints
from tests.vllm.engine import OPTIONS
from tests.vllm.test_equality import HIMAP
from visionflow.errors import VisionFlowError
from visionflow.serving.vllm.__main__ import _causes


def told(folder: Path, settings: Any, **options: Any) -> str:
    """Why a configuration is refused."""
    with pytest.raises(Exception) as error:  # noqa: PT011
        EngineArgs(
            model=str(folder), additional_config={"visionflow": settings}, **OPTIONS | options
        ).create_engine_config()
    reasons = [each for each in _causes(error.value) if isinstance(each, VisionFlowError)]
    assert reasons, error.value
    assert "\n" not in str(reasons[0])
    return str(reasons[0])


def test_caches_that_cannot_shrink(checkpoints: Checkpoints) -> None:
    settings = {"method": HIMAP.spec, "shrink_kv": True}
    why = told(checkpoints.oracle("llava").folder, settings, disable_hybrid_kv_cache_manager=True)
    assert why.endswith("with --disable-hybrid-kv-cache-manager and shrink_kv")


def test_graphs_that_nobody_can_leave(checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_USE_BREAKABLE_CUDAGRAPH", "1")
    assert told(checkpoints.oracle("llava").folder, HIMAP.spec).endswith("with VLLM_USE_BREAKABLE_CUDAGRAPH")


FEATURES: dict[str, dict[str, Any]] = {
    "LoRA": {"enable_lora": True},
    "speculative decoding": {"speculative_config": {"method": "ngram", "num_speculative_tokens": 2}},
    "pipeline parallelism": {"pipeline_parallel_size": 2},
    "--scheduler-cls": {"scheduler_cls": "vllm.v1.core.sched.scheduler.Scheduler"},
    "prompt embeddings": {"enable_prompt_embeds": True},
    "KV transfer": {"kv_transfer_config": {"kv_connector": "ExampleConnector", "kv_role": "kv_both"}},
    "--runner other than generate": {"runner": "pooling"},
}


@pytest.mark.parametrize("feature", FEATURES)
def test_features_of_the_engine(checkpoints: Checkpoints, feature: str) -> None:
    folder = checkpoints.oracle("llava").folder
    assert told(folder, HIMAP.spec, **FEATURES[feature]) == f"pruning does not go together with {feature}"


def test_the_front_end_that_does_not_know_of_plugins(checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_USE_RUST_FRONTEND", "1")
    assert "VLLM_USE_RUST_FRONTEND" in told(checkpoints.oracle("llava").folder, HIMAP.spec)


def test_all_of_them_are_told_at_once(checkpoints: Checkpoints) -> None:
    options = {"enable_lora": True, "pipeline_parallel_size": 2}
    why = told(checkpoints.oracle("llava").folder, HIMAP.spec, **options)
    assert why.endswith("with LoRA, pipeline parallelism")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ("himap:k9=2", "'k9' is no setting of himap"),
        ({"method": "himap", "ratio": 0.5}, "'ratio' is no setting of himap"),
        ("himap:r1=1.5", "0 <= r1 < 1"),
        ("vtw:k=6", "beyond the model's 6 decoder layers"),
        ("visipruner", "depends on activations"),
        ({"method": "fastv", "shadow": 2}, "from 0 to 1"),
    ],
)
def test_settings(checkpoints: Checkpoints, settings: Any, why: str) -> None:
    assert why in told(checkpoints.oracle("llava").folder, settings)


def test_windows_shorter_than_the_longest_prompt(checkpoints: Checkpoints, tmp_path: Path) -> None:
    oracle = checkpoints.oracle("mistral3")
    config = oracle.model.config.__class__.from_pretrained(oracle.folder)
    config.text_config.sliding_window = 128
    copy(oracle.folder, tmp_path)
    config.save_pretrained(tmp_path)
    assert "attention windows shorter than --max-model-len" in told(tmp_path, HIMAP.spec)


def test_other_models(checkpoints: Checkpoints, tmp_path: Path) -> None:
    copy(checkpoints.oracle("llava").folder, tmp_path)
    Gemma3Config(architectures=["Gemma3ForConditionalGeneration"]).save_pretrained(tmp_path)
    why = told(tmp_path, HIMAP.spec)
    assert why.startswith("vLLM's Gemma3ForConditionalGeneration cannot be served pruned; these can: ")


def copy(folder: Path, to: Path) -> None:
    """The files of a checkpoint, without its weights."""
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (to / file.name).write_bytes(file.read_bytes())
