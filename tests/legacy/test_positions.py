"""Qwen-VL-Chat beyond 2,048 positions is refused, early and in one sentence."""

import pytest
import torch

from tests.legacy.conftest import System
from visionflow import FastV, prune
from visionflow.errors import UnsupportedUsageError, VisionFlowError
from visionflow.loading.prompts import make_prompts


def ids(count: int) -> torch.Tensor:
    return torch.randint(256, (1, count), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_a_forward_pass(qwen: System) -> None:
    assert qwen.model(input_ids=ids(2048), logits_to_keep=1).logits.shape[1] == 1
    with pytest.raises(UnsupportedUsageError, match="take 2049 positions, and beyond 2048"):
        qwen.model(input_ids=ids(2049))
    with pytest.raises(UnsupportedUsageError, match="take 2049 positions"):
        qwen.model.model.language_model(ids(2049))


@torch.no_grad()
def test_a_forward_pass_on_a_cache(qwen: System) -> None:
    cache = qwen.model(input_ids=ids(2040), logits_to_keep=1).past_key_values
    with pytest.raises(UnsupportedUsageError, match="take 2049 positions"):
        qwen.model(input_ids=ids(9), past_key_values=cache)


def test_generate_before_its_first_token(qwen: System) -> None:
    passes: list[object] = []
    handle = qwen.model.register_forward_pre_hook(lambda *call: passes.append(call))
    with pytest.raises(UnsupportedUsageError, match="take 2049 positions"):
        qwen.model.generate(input_ids=ids(2000), max_new_tokens=49)
    handle.remove()
    assert not passes


def test_in_a_pruning_scope_the_positions_of_dropped_tokens_count(qwen: System) -> None:
    picture = torch.full((1, 256), qwen.model.config.image_token_id)
    tokens = torch.cat([ids(1000), picture, ids(791)], dim=1)
    pixels = torch.zeros(1, 3, 448, 448)
    with prune(qwen.model, FastV(2, 0.9)), torch.no_grad():
        cache = qwen.model(input_ids=tokens, pixel_values=pixels, logits_to_keep=1).past_key_values
        with pytest.raises(UnsupportedUsageError, match="take 2049 positions"):
            qwen.model(input_ids=ids(2), past_key_values=cache)


def test_a_prompt_of_the_command_line(qwen: System) -> None:
    with pytest.raises(VisionFlowError, match="more than the model's 2048 positions"):
        make_prompts(qwen.model, qwen.processor, [[]], ["what " * 500])
