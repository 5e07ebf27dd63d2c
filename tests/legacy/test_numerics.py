"""The loaded models compute what the original ones compute: features, logits and greedy answers, in fp64."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.exact import EXACTLY
from tests.legacy import references
from tests.legacy.conftest import System
from tests.legacy.originals import Weights
from visionflow.legacy.mobilevlm import LDPv2
from visionflow.legacy.qwen_vl import resized
from visionflow.loading.prompts import make_prompts


def mobile_features(weights: Weights, pixels: Tensor) -> Tensor:
    return references.mobilevlm_projector(weights, references.mobilevlm_tower(weights, pixels))


FEATURES: dict[str, Callable[[Weights, Tensor], Tensor]] = {
    "mobilevlm": mobile_features,
    "qwen": references.qwen_features,
}
LOGITS = {"mobilevlm": references.mobilevlm_logits, "qwen": references.qwen_logits}


def prompt(system: System, pictures: int, question: str = "is the cat") -> Any:
    noise = torch.Generator().manual_seed(pictures)
    pixels = [torch.randint(256, (40, 30 + 20 * n, 3), generator=noise, dtype=torch.uint8) for n in range(pictures)]
    shown = [Image.fromarray(each.numpy()) for each in pixels]
    return make_prompts(system.model, system.processor, [shown], [question])


def reference_logits(system: System, inputs: Any, ids: Tensor) -> Tensor:
    name, image = system.model.config.model_type, system.model.config.image_token_id
    features = FEATURES[name](system.weights, inputs["pixel_values"]).flatten(0, 1)
    return LOGITS[name](system.weights, ids, features, image)


@torch.no_grad()
def test_features_are_those_of_the_original(system: System) -> None:
    size = system.model.config.vision_config.image_size
    pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features = torch.stack(list(system.model.get_image_features(pixels).pooler_output))
    assert features.shape[1] == system.per_image
    expected = FEATURES[system.model.config.model_type](system.weights, pixels)
    assert expected.std() > 0.1
    torch.testing.assert_close(features, expected, **EXACTLY)


@torch.no_grad()
@pytest.mark.parametrize("pictures", [1, 2])
def test_logits_are_those_of_the_original(system: System, pictures: int) -> None:
    inputs = prompt(system, pictures)
    assert (inputs["input_ids"] == system.model.config.image_token_id).sum() == pictures * system.per_image
    expected = reference_logits(system, inputs, inputs["input_ids"][0])
    assert expected.std() > 0.1
    torch.testing.assert_close(system.model(**inputs).logits[0], expected, **EXACTLY)


@torch.no_grad()
def test_greedy_answers_are_those_of_the_original(system: System) -> None:
    inputs = prompt(system, 1)
    ids = inputs["input_ids"][0]
    answer = system.model.generate(**inputs, max_new_tokens=5, eos_token_id=-1)[0]
    for _ in range(5):
        ids = torch.cat([ids, reference_logits(system, inputs, ids)[-1:].argmax(-1)])
    assert answer.tolist() == ids.tolist()


@torch.no_grad()
def test_padding_on_the_left_changes_nothing(system: System) -> None:
    picture = Image.new("RGB", (50, 40), (200, 30, 90))
    questions = ["is the cat", "is the cat that sits on the other mat"]
    batch = make_prompts(system.model, system.processor, [[picture]] * 2, questions)
    together = system.model.generate(**batch, max_new_tokens=4, eos_token_id=-1)[:, -4:]
    for place, question in enumerate(questions):
        alone = make_prompts(system.model, system.processor, [[picture]], [question])
        tokens = system.model.generate(**alone, max_new_tokens=4, eos_token_id=-1)[0, -4:]
        assert together[place].tolist() == tokens.tolist()


@torch.no_grad()
def test_ldpv2_by_hand(mobile: System) -> None:
    projector = LDPv2(mobile.model.config).double()
    projector.load_state_dict(mobile.model.model.multi_modal_projector.state_dict())
    patches = torch.randn(2, 576, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    torch.testing.assert_close(projector(patches), references.mobilevlm_projector(mobile.weights, patches), **EXACTLY)


def test_positions_are_stretched_in_fp32_and_kept_where_they_fit() -> None:
    positions = torch.randn(256, 8, generator=torch.Generator().manual_seed(4), dtype=torch.bfloat16)
    assert resized(positions, 256) is positions
    larger = resized(positions, 1024)
    assert larger.dtype == torch.bfloat16
    assert torch.equal(larger, references.stretched(positions.float()).bfloat16())
