"""What the vision tower shows of image tokens, against its own eager attention and what each token is made of."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Generator, Tensor, nn

from tests.exact import ROUNDED, exact_in_double
from tests.zoo import ZOO, Entry
from tests.zoo.entry import IMAGE, Draw, Picture, joined
from tests.zoo.oracles import prompts_of
from tests.zoo.parts import CLIP, PIXTRAL, SIGLIP, config, fixed, noise, text
from visionflow.core import Chosen, Cut, Plan, Ratio, Select, Shown, Tokens, Top, Tower
from visionflow.core.towers import TowerRows
from visionflow.engines.hf.families import FAMILIES
from visionflow.engines.hf.scope import Scope
from visionflow.engines.hf.tower_table import VISIONS, check_tower, tower_rows
from visionflow.errors import UnsupportedModelError

LOOKED_AT = {
    "llava": "vision_tower.encoder.layers.0.self_attn",
    "vipllava": "vision_tower.encoder.layers.1.self_attn",
    "llava_next": "vision_tower.encoder.layers.0.self_attn",
    "llava_next_video": "vision_tower.encoder.layers.0.self_attn",
    "llava_onevision": "vision_tower.encoder.layers.1.self_attn",
    "aya_vision": "vision_tower.encoder.layers.1.self_attn",
    "cohere2_vision": "vision_tower.encoder.layers.1.self_attn",
    "internvl": "vision_tower.encoder.layer.1.attention",
    "deepseek_vl": "vision_model.encoder.layers.1.self_attn",
    "paligemma": "vision_tower.encoder.layers.1.self_attn",
    "gemma3": "vision_tower.encoder.layers.1.self_attn",
    "shieldgemma2": "vision_tower.encoder.layers.1.self_attn",
    "mistral3": "vision_tower.transformer.layers.1.attention",
    "idefics3": "vision_model.encoder.layers.1.self_attn",
    "smolvlm": "vision_model.encoder.layers.1.self_attn",
    "qwen2_vl": "visual.blocks.1.attn",
    "qwen2_5_vl": "visual.blocks.1.attn",
    "qwen3_vl": "visual.blocks.2.attn",
    "qwen3_vl_moe": "visual.blocks.2.attn",
}
"""The attention module whose layer's output each family projects, inside ``model.model``."""


def llava_with(tower: dict[str, Any], strategy: str, picture: Draw, join: Callable[..., Any] = joined) -> Entry:
    make = config(
        "llava", text_config=text("llama"), vision_config=tower, vision_feature_select_strategy=strategy,
        vision_feature_layer=-1 if tower is PIXTRAL else -2,
    )  # fmt: skip
    return Entry("llava", make, {"image": picture}, join=join)


def _pixtral(generator: Generator) -> Picture:
    return Picture(
        [IMAGE] * 64, {"pixel_values": noise(generator, 1, 3, 32, 32), "image_sizes": torch.tensor([[32, 32]])}
    )


OTHERS = {
    "llava-siglip": (llava_with(SIGLIP, "full", fixed(36, 3, 24, 24)), LOOKED_AT["llava"]),
    "llava-full": (llava_with(CLIP, "full", fixed(26, 3, 20, 20)), LOOKED_AT["llava"]),
    "llava-pixtral": (llava_with(PIXTRAL, "full", _pixtral), "vision_tower.transformer.layers.1.attention"),
}
"""LLaVA with other towers, or with the class token as an image token."""
CASES = {name: (ZOO[name], module) for name, module in LOOKED_AT.items()} | OTHERS
QUICK = ("llava", "llava_next", "internvl", "idefics3", "mistral3", "qwen2_5_vl", "llava-pixtral")
cases = pytest.mark.parametrize(
    ("name", "rows"),
    [
        pytest.param(name, rows, marks=() if name in QUICK else pytest.mark.slow)
        for name, (entry, _) in CASES.items()
        for rows in tower_rows(entry.config())
    ],
)


@pytest.fixture(autouse=True)
def in_double() -> Iterator[None]:
    with exact_in_double():
        yield


@dataclass(frozen=True)
class Noted(Select):
    """The best, and a note of the evidence."""

    seen: ClassVar[list[tuple[Shown, Tokens]]] = []

    def __call__(self, shown: Shown, tokens: Tokens, counts: tuple[int, ...]) -> Chosen:
        self.seen.append((shown, tokens))
        return Top()(shown, tokens, counts)


@contextmanager
def eager_of(module: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Attention weights ``[pictures, heads, patches, patches]`` and keys of each call of one module, on eager."""
    home: Any = inspect.getmodule(type(module))
    calls, usual = [], home.eager_attention_forward

    def noting(own: nn.Module, query: Tensor, key: Tensor, *args: Any, **kwargs: Any) -> Any:
        output, weights = usual(own, query, key, *args, **kwargs)
        if own._modules is module._modules:  # the engine hands on a copy
            calls.append((weights, key))
        return output, weights

    home.eager_attention_forward = noting
    try:
        yield calls
    finally:
        home.eager_attention_forward = usual


def made_of(model: Any, module: str, inputs: dict[str, Any]) -> list[list[int]]:
    """For each image token the patches of the layer's output that it is made of: those that its features feel."""
    encode = model.model.get_image_features
    given = {name: inputs[name] for name in inspect.signature(encode).parameters if name in inputs}
    outputs: list[Tensor] = []

    def note(layer: nn.Module, args: Any, output: Any) -> None:
        outputs.append(output[0] if isinstance(output, tuple) else output)

    handle = model.model.get_submodule(module.rpartition(".")[0]).register_forward_hook(note)
    model.requires_grad_(True)
    features = encode(**given, return_dict=True).pooler_output
    handle.remove()
    rows = torch.cat([picture.reshape(-1, picture.shape[-1]) for picture in features])
    found = []
    for row in rows:
        felt = torch.autograd.grad(row.square().sum(), outputs[0], retain_graph=True, allow_unused=True)[0]
        flat = torch.zeros(1, 1) if felt is None else felt.reshape(-1, felt.shape[-1])
        found.append(flat.abs().sum(1).nonzero()[:, 0].tolist())
    model.requires_grad_(False)
    return found


@cases
def test_scores_and_keys_are_those_of_eager_attention(name: str, rows: TowerRows) -> None:
    """In a batch of different numbers of pictures, of two sizes where the family takes them."""
    entry, path = CASES[name]
    model = entry.build("eager", torch.float64).requires_grad_(False)
    model.set_attn_implementation({"vision_config": "eager"})
    model.set_experts_implementation("eager")  # the others take no fp64
    module = model.model.get_submodule(path)
    inputs = double(entry.batch([prompt for prompt in prompts_of(entry) if not has_video(prompt)]))
    expected_patches = made_of(model, path, inputs)
    Noted.seen.clear()
    with eager_of(module) as calls, torch.no_grad(), Scope(model, Plan((Cut(0, Ratio(0.5), Tower(rows), Noted()),))):
        model(**inputs)
    score, key = [], []
    for weights, keys in calls:
        mean = weights.mean(1)
        score.append((mean[:, 0] if rows == "cls" else mean.sum(1)).flatten())
        key.append(keys.mean(1).flatten(0, 1))
    of_patch, key_of_patch = torch.cat(score), torch.cat(key)
    shown, tokens = Noted.seen[0]
    assert shown.scores is not None
    assert shown.features is not None
    image = tokens.image.mask
    assert int(image.sum()) == len(expected_patches)
    for got, features, patches in zip(shown.scores[image], shown.features[image], expected_patches, strict=True):
        if not patches:
            assert got == -torch.inf  # a newline
            continue
        torch.testing.assert_close(got.double(), of_patch[patches].sum(), **ROUNDED)
        torch.testing.assert_close(features.double(), key_of_patch[patches].mean(0), **ROUNDED)


def has_video(prompt: Any) -> bool:
    return any("pixel_values_videos" in picture.tensors for picture in prompt.pictures)


def double(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value.double() if value.is_floating_point() else value for name, value in inputs.items()}


def test_every_tower_was_looked_at() -> None:
    assert VISIONS.keys() == LOOKED_AT.keys()


def test_no_tower_is_taken_that_was_not_tried() -> None:
    """Its type stands in one of the cases."""
    for name, vision in VISIONS.items():
        tried = {entry.config().vision_config.model_type for entry, _ in CASES.values() if entry.model_type == name}
        assert set(vision.types) == tried


@pytest.mark.parametrize("name", sorted(set(FAMILIES) & set(ZOO)))
def test_the_others_are_refused_before_anything_runs(name: str) -> None:
    entry = ZOO[name]
    known = tower_rows(entry.config())
    for rows in ("cls", "received"):
        if rows not in known:
            with pytest.raises(UnsupportedModelError, match="no class token" if known else "is not known of a"):
                check_tower(entry.config(), rows)
