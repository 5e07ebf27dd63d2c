"""Real shapes: their sizes, their random weights, and how much of them a machine can run."""

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from tests.tiny import tiny_llava
from visionflow.bench import shapes, subject
from visionflow.bench.shapes import SHAPES, random_model, shape_config, weight_counts
from visionflow.bench.subject import fitting_depth, open_subject
from visionflow.cost import PRESETS, DecoderShape
from visionflow.errors import UnsupportedModelError, VisionFlowError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
GIB = 2**30


@pytest.mark.parametrize("name", PRESETS)
def test_the_cost_models_presets_are_the_same_shapes(name: str) -> None:
    assert DecoderShape.from_config(shape_config(name)) == PRESETS[name]


def test_one_b() -> None:
    shape = DecoderShape.from_config(shape_config("llava-1b"))
    assert shape == DecoderShape(22, 2048, 5632, 32, 4, 64, 32064, image_tokens=576, tower_head_dim=64)


def test_sizes_of_whole_models() -> None:
    one, others = weight_counts(shape_config("llava-1.5-7b"))
    assert 32 * one + others == pytest.approx(7.063e9, rel=1e-3)
    assert weight_counts(shape_config("llava-1.5-7b", 3)) == (one, others)


def test_qwen_has_the_size_of_the_published_model() -> None:
    config = SHAPES["qwen2.5-vl-7b"][1](28)
    with torch.device("meta"):
        from transformers import Qwen2_5_VLForConditionalGeneration

        model = Qwen2_5_VLForConditionalGeneration(config)
    assert sum(weight.numel() for weight in model.parameters()) == pytest.approx(8.29e9, rel=1e-3)


def test_layers_are_checked() -> None:
    assert shape_config("llava-1b", 3).text_config.num_hidden_layers == 3
    with pytest.raises(VisionFlowError, match="llava-1b has 22 decoder layers: --layers must be 1 to 22, not 23"):
        shape_config("llava-1b", 23)


def test_a_family_that_cannot_be_pruned_is_refused_in_the_runtimes_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visionflow.engines.hf.families.FAMILIES", {})
    with pytest.raises(UnsupportedModelError, match="model type 'qwen2_5_vl' is not supported"):
        shape_config("qwen2.5-vl-7b")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_random_weights_are_ordinary_numbers(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    monkeypatch.setattr(shapes, "_POOL", 101)  # smaller than the matrices, so that it is repeated
    model = random_model(tiny_llava().config, dtype, CPU)
    assert not model.training
    assert model.dtype == dtype
    for name, weight in model.named_parameters():
        if weight.dim() == 1:
            assert torch.all(weight == (0 if name.endswith("bias") else 1)), name
        else:
            assert 0.01 < weight.float().std() < 0.03, name
            assert weight.abs().max() < 1, name
    query = model.model.language_model.layers[0].self_attn.q_proj.weight.flatten()
    assert torch.equal(query[:101], query[101:202])


def test_what_is_no_weight_is_as_the_stock_model_makes_it() -> None:
    config = tiny_llava().config
    stock, made = LlavaForConditionalGeneration(config), random_model(config, torch.bfloat16, CPU)
    buffers = dict(made.named_buffers())
    for name, buffer in stock.named_buffers():
        assert torch.equal(buffers[name], buffer), name


def limited(monkeypatch: pytest.MonkeyPatch, gibibytes: float, cores: int) -> None:
    monkeypatch.setattr(subject, "free_memory", lambda device: int(gibibytes * GIB))
    monkeypatch.setattr(subject, "cores", lambda: cores)


def test_a_large_machine_runs_all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, 1000, 64)
    assert fitting_depth("llava-1.5-7b", torch.bfloat16, CPU, 640) == (32, "")


def test_memory_limits_the_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, 10, 64)
    layers, note = fitting_depth("llava-1.5-7b", torch.bfloat16, CUDA, 640)
    one, others = weight_counts(shape_config("llava-1.5-7b"))
    assert 2 * (one * layers + others) <= 0.7 * 10 * GIB < 2 * (one * (layers + 1) + others)
    assert note == f"{layers} of 32 decoder layers, as many as fit the free memory of cuda; more with --layers"


def test_time_limits_the_depth_on_a_processor_only(monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, 1000, 2)
    layers, note = fitting_depth("llava-1.5-7b", torch.bfloat16, CPU, 640)
    assert layers == 5  # 8.5 TFLOPs in all, 0.27 a layer, 1.5 allowed
    assert note == "5 of 32 decoder layers, to take minutes on 2 cores; more with --layers"
    assert fitting_depth("llava-1b", torch.float32, CPU, 640) == (22, "")
    assert fitting_depth("llava-1.5-7b", torch.bfloat16, CPU, 16448)[0] == 4
    assert fitting_depth("llava-1.5-7b", torch.bfloat16, CUDA, 16448) == (32, "")


def test_weights_larger_than_the_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, 2, 2)
    with pytest.raises(VisionFlowError, match=r"2.0 GiB are free on cpu: give fewer --layers"):
        open_subject("llava-1.5-7b", 32, "bfloat16", "cpu", 640)


def test_a_saved_model_keeps_its_depth() -> None:
    with pytest.raises(VisionFlowError, match="the model embedded has the depth it has"):
        open_subject("embedded", 4, None, "cpu", 640)
