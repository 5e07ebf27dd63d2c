"""Original checkpoints are loaded whole, each weight in its place, or refused by name."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, LlavaForConditionalGeneration

from tests.legacy import originals
from tests.legacy.conftest import System
from visionflow.errors import VisionFlowError
from visionflow.legacy import MobileVLM, QwenVL


def test_every_weight_lands_and_none_is_left_over(system: System) -> None:
    model, report = AutoModelForImageTextToText.from_pretrained(system.directory, output_loading_info=True)
    assert not any(report.values())
    count = sum(weight.numel() for name, weight in system.weights.items() if "inv_freq" not in name)
    assert sum(weight.numel() for weight in model.parameters()) == count


def test_safetensors_shards_give_the_same_model(system: System, tmp_path: Path) -> None:
    shutil.copytree(system.directory, tmp_path, dirs_exist_ok=True)
    originals.as_safetensors(tmp_path, system.weights)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path)
    for name, weight in system.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name


def test_a_saved_model_has_the_original_names_and_is_loaded_again(system: System, tmp_path: Path) -> None:
    system.model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert saved.keys() == {name for name in system.weights if "inv_freq" not in name}
    assert all(torch.equal(weight, system.weights[name]) for name, weight in saved.items())
    again = AutoModelForImageTextToText.from_pretrained(tmp_path)
    for name, weight in system.model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name


def test_a_model_made_from_its_configuration_is_saved_and_loaded(system: System, tmp_path: Path) -> None:
    fresh = type(system.model)(system.model.config).double()
    fresh.save_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path)
    for name, weight in fresh.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name


def test_the_structure_is_stock_but_for_what_it_says(mobile: System, qwen: System) -> None:
    assert isinstance(mobile.model, MobileVLM)
    assert isinstance(qwen.model, QwenVL)
    for system, text in ((mobile, "LlamaModel"), (qwen, "Qwen2Model")):
        assert isinstance(system.model, LlavaForConditionalGeneration)
        assert type(system.model.model).__name__ == "LlavaModel"
        assert type(system.model.get_decoder()).__name__ == text
        assert system.model.config.image_seq_length == system.per_image
        # Under its own type the stock class would run it, on the wrong features, with no more than a remark.
        assert system.model.config.model_type != "llava"


def test_half_precision_is_what_the_configuration_says(system: System, tmp_path: Path) -> None:
    shutil.copytree(system.directory, tmp_path, dirs_exist_ok=True)
    config = originals.read_json(tmp_path / "config.json") | {"torch_dtype": "bfloat16"}
    originals.write_json(tmp_path / "config.json", config)
    assert AutoModelForImageTextToText.from_pretrained(tmp_path, dtype="auto").dtype == torch.bfloat16


WRITERS = {"mobile": originals.write_mobilevlm, "qwen": originals.write_qwen}
ONE_WEIGHT = {"mobile": "model.mm_projector.peg.peg.0.bias", "qwen": "transformer.visual.attn_pool.ln_q.bias"}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("kind", ["missing", "left over", "of another shape"])
def test_another_set_of_weights_is_refused(
    name: str, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    weights, one = dict(request.getfixturevalue(name).weights), ONE_WEIGHT[name]
    if kind == "missing":
        del weights[one]
    elif kind == "left over":
        weights[one + "_again"] = weights[one]
    else:
        weights[one] = weights[one].repeat(2)
    WRITERS[name](tmp_path, weights)
    with pytest.raises(VisionFlowError, match=rf"1 weights {kind}, for example model\.multi_modal_projector\."):
        AutoModelForImageTextToText.from_pretrained(tmp_path)


def test_the_zero_biases_of_quantised_copies_are_left_over(qwen: System, tmp_path: Path) -> None:
    weights = qwen.weights | {"transformer.h.0.attn.c_proj.bias": torch.zeros(256)}
    originals.write_qwen(tmp_path, weights)
    with pytest.raises(VisionFlowError, match=r"1 weights left over, for example .*layers\.0\.self_attn\.o_proj\.bias"):
        AutoModelForImageTextToText.from_pretrained(tmp_path)


@pytest.mark.parametrize(("rows", "error"), [(45, RuntimeError), (96, VisionFlowError)])
def test_a_tower_projection_of_other_rows_is_refused(
    qwen: System, tmp_path: Path, rows: int, error: type[Exception]
) -> None:
    name = "transformer.visual.transformer.resblocks.0.attn.in_proj.bias"
    originals.write_qwen(tmp_path, qwen.weights | {name: torch.zeros(rows)})
    with pytest.raises(error):  # what cannot be cut into heads at all is transformers' own error
        AutoModelForImageTextToText.from_pretrained(tmp_path)


def test_a_missing_shard_is_refused(qwen: System, tmp_path: Path) -> None:
    originals.write_qwen(tmp_path, qwen.weights)
    (tmp_path / "pytorch_model-00002-of-00003.bin").unlink()
    with pytest.raises(OSError, match="pytorch_model-00002-of-00003"):
        AutoModelForImageTextToText.from_pretrained(tmp_path)
