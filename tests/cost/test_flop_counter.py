"""Oracle 7: the `flops` convention is what torch counts on the real module, to the unit.

Eager attention throughout: on CPU tensors the counter knows no formula for sdpa and counts it as nothing.
"""

import copy
import importlib
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, AutoModelForCausalLM, LlamaConfig

from tests.matrix import quick_or_slow
from tests.tiny import PER_IMAGE, prompt, tiny_llava
from tests.zoo import ZOO
from tests.zoo.survey import SURVEY
from visionflow.core.plan import Plan
from visionflow.core.work import Work
from visionflow.cost import DecoderShape, cost_of, cost_of_work
from visionflow.cost.shape import GATED_DENSE
from visionflow.cost.text_models import UNEVEN
from visionflow.engines.hf.scope import Scope
from visionflow.methods import VTW, FastV, HiMAP, Method, RandomPruning

LAYERS, VOCABULARY, TOKENS = 3, 50, 7


@torch.no_grad()
def counted(model: nn.Module, **inputs: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        model(**inputs)
    return counter.get_total_flops()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(4, 4, 6), (4, 2, 6), (4, 1, 10)])
@pytest.mark.parametrize("logits_rows", [1, None])
def test_dense(heads: int, kv_heads: int, head_dim: int, batch: int, logits_rows: int | None) -> None:
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=24, intermediate_size=40, num_hidden_layers=LAYERS,
        num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=head_dim,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    ids = torch.randint(3, VOCABULARY, (batch, TOKENS))
    shape = DecoderShape.from_config(config)
    cost = cost_of_work(shape, Work.plain([TOKENS] * LAYERS), [[0] * batch] * LAYERS, "flops", logits_rows=logits_rows)
    assert cost.dense == cost.pruned == counted(model, input_ids=ids, logits_to_keep=logits_rows or 0)


@pytest.mark.parametrize("model_type", sorted(GATED_DENSE - {traits.text_type for traits in SURVEY.values()}))
def test_every_text_model_that_is_not_refused(model_type: str) -> None:
    """Those inside a family are counted there: tests/zoo/test_oracles.py."""
    settings: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if "_vl" in model_type:
        settings["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
    # Qwen2-VL takes the width of a head from the hidden size, the others from a field of its own.
    hidden, head_dim = (32, None) if model_type.startswith(("qwen2_vl", "qwen2_5_vl")) else (24, 8)
    config = AutoConfig.for_model(
        model_type, vocab_size=VOCABULARY, hidden_size=hidden, intermediate_size=40, num_hidden_layers=LAYERS,
        num_attention_heads=4, num_key_value_heads=2, head_dim=head_dim, **settings,
    )  # fmt: skip
    shape = DecoderShape.from_config(config)
    model, has_head = text_model(config)
    inputs = {"input_ids": torch.randint(3, VOCABULARY, (1, TOKENS))} | ({"logits_to_keep": 1} if has_head else {})
    cost = cost_of(Plan(), shape, "flops", image_tokens=0, text_tokens=TOKENS, logits_rows=int(has_head))
    assert cost.dense == counted(model, **inputs)


def text_model(config: Any) -> tuple[nn.Module, bool]:
    """The model of a text config, and whether it has an output head."""
    family, is_part, _ = config.model_type.partition("_text")
    if not is_part:
        return AutoModelForCausalLM.from_config(config, attn_implementation="eager"), True
    module = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
    part = next(getattr(module, name) for name in dir(module) if name.endswith("VLTextModel"))
    config._attn_implementation = "eager"
    return part(config), False


def widths_apart() -> list[Any]:
    """Text models told layer by layer; without those whose heads follow from the hidden size, and those with a scan."""
    following = {"ernie4_5_vl_moe_text", "glm4v_moe_text"}
    scans = {"qwen3_5_text", "qwen3_5_moe_text", "nemotron_h"}
    return quick_or_slow(sorted(UNEVEN.keys() - following - scans), ["gemma3n_text", "gemma4_text", "inkling_text"])


@pytest.mark.parametrize("model_type", widths_apart())
def test_no_width_stands_for_another(model_type: str) -> None:
    """In the zoo hidden states are as wide as all heads together, and values as queries: here they are not."""
    name = next(name for name, traits in SURVEY.items() if traits.text_type == model_type)
    config: Any = copy.deepcopy(ZOO[name].config().get_text_config())
    config.hidden_size = config.word_embed_proj_dim = 48
    config.v_head_dim = 6
    config._attn_implementation, config._experts_implementation_internal = "eager", "eager"
    shape = DecoderShape.from_config(config)
    ids = torch.randint(3, 60, (1, TOKENS))
    expected = cost_of(Plan(), shape, "flops", image_tokens=0, text_tokens=TOKENS, logits_rows=0).dense
    assert expected == counted(decoder(config), input_ids=ids, use_cache=False)


def decoder(config: Any) -> nn.Module:
    """The text model of a config alone, without a head."""
    if type(config) in MODEL_MAPPING:
        return AutoModel.from_config(config)
    module = importlib.import_module(type(config).__module__.replace("configuration_", "modeling_"))
    part = next(getattr(module, name) for name in dir(module) if name.endswith("TextModel"))
    return part(config)  # type: ignore[no-any-return]


@pytest.mark.parametrize("logits_rows", [1, None])
@pytest.mark.parametrize(
    "method", [HiMAP(2, 0.5, 4, 0.75), FastV(2, 0.5), FastV(2, 0.0), VTW(3), RandomPruning(2, 0.5)], ids=str
)
def test_pruned_is_known_from_the_counts_alone(method: Method, logits_rows: int | None) -> None:
    model = tiny_llava(kv_heads=2, attention="eager")
    shape = DecoderShape.from_config(model.config)
    before, after = 4, 6  # one more before than asked for: the beginning of the sequence
    inputs = prompt(before - 1, "image", after).inputs
    with Scope(model, method.plan()) as trace, FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**inputs, logits_to_keep=logits_rows or 0)
    expected = cost_of(
        method, shape, "flops", image_tokens=PER_IMAGE, text_tokens=before + after, instruction_tokens=after,
        logits_rows=logits_rows,
    )  # fmt: skip
    assert expected.pruned == sum(
        sum(counter.get_flop_counts()[f"{type(model).__name__}.{part}"].values())
        for part in ("model.language_model", "lm_head")
    )
    for work in (trace.work, trace.work_of(0)):
        assert expected == cost_of_work(shape, work, trace.image_tokens.tolist(), "flops", logits_rows=logits_rows)
