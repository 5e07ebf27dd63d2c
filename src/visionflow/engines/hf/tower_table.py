"""The vision towers whose attention is evidence: by family, where the tower is and how patches become image tokens.

Every entry is checked on a tiny model of the real architecture (tests/zoo); docs/families.md is made by the checks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from transformers import PreTrainedConfig

from visionflow.core.towers import TowerRows
from visionflow.errors import UnsupportedModelError

Joining = Literal["blocks", "units", "windows", "sizes", "packed"]
"""Squares of patches become a token; runs of patches; runs whose order windows have changed; squares of the patches of
pictures of many sizes, laid end to end; or as the family packs its tiles. See `visionflow.engines.hf.joining`."""

_CLIP, _SIGLIP, _PIXTRAL = "clip_vision_model", "siglip_vision_model", "pixtral"
_CLASS_TOKEN = (_CLIP, "internvl_vision")
"""Model types of towers whose first token is a class token."""


@dataclass(frozen=True)
class Vision:
    """The vision tower of one family.

    Attributes:
        model_type: of the family.
        types: model types of the vision configs that this was tested with.
        joining: how patches become image tokens.
        path: of the tower, relative to the merger.
    """

    model_type: str
    types: tuple[str, ...]
    joining: Joining = "blocks"
    path: str = "vision_tower"


def _known() -> Iterator[Vision]:
    yield Vision("llava", (_CLIP, _SIGLIP, _PIXTRAL))
    yield Vision("vipllava", (_CLIP,))
    for name in ("aya_vision", "cohere2_vision", "paligemma", "gemma3", "shieldgemma2"):
        yield Vision(name, (_SIGLIP,))
    yield Vision("deepseek_vl", (_SIGLIP,), path="vision_model")
    yield Vision("internvl", ("internvl_vision",))
    for name in ("idefics3", "smolvlm"):
        yield Vision(name, (f"{name}_vision",), path="vision_model")
    for name in ("llava_next", "llava_next_video"):
        yield Vision(name, (_CLIP,), "packed")
    yield Vision("llava_onevision", (_SIGLIP,), "packed")
    yield Vision("mistral3", (_PIXTRAL,), "sizes")
    units = partial(Vision, joining="units", path="visual")
    for name in ("qwen2_vl", "qwen3_vl", "qwen3_vl_moe"):
        yield units(name, (f"{name}_vision",))
    yield Vision("qwen2_5_vl", ("qwen2_5_vl_vision",), "windows", "visual")


VISIONS: dict[str, Vision] = {vision.model_type: vision for vision in _known()}
"""By ``config.model_type`` of the family."""


def tower_rows(config: PreTrainedConfig) -> tuple[TowerRows, ...]:
    """The rows of the tower's attention that are evidence in models that `config` describes; none where none are."""
    vision, own = VISIONS.get(config.model_type), _type_of(config)
    if vision is None or own not in vision.types:
        return ()
    return ("cls", "received") if own in _CLASS_TOKEN else ("received",)


def check_tower(config: PreTrainedConfig, rows: TowerRows) -> Vision:
    """The entry for the models that `config` describes.

    Raises:
        UnsupportedModelError: there is none, not for its tower, or the tower has no class token.
    """
    known = tower_rows(config)
    if not known:
        tower = f" with a {_type_of(config)!r} tower" if config.model_type in VISIONS else ""
        raise UnsupportedModelError(
            f"how image tokens come from the vision tower's attention is not known of a {config.model_type!r}{tower} "
            "(docs/families.md says of which it is): take a method that looks at no tower, such as HiMAP"
        )
    if ("cls" if rows == "flow" else rows) not in known:
        raise UnsupportedModelError(
            f"the vision tower of this {config.model_type!r}, a {_type_of(config)!r}, has no class token: "
            "use rows='received', what its patches read of each other"
        )
    return VISIONS[config.model_type]


def layer_looked_at(config: PreTrainedConfig, layers: int) -> int:
    """The layer of the tower, of so many, whose output is projected; of several the last.

    Raises:
        UnsupportedModelError: no layer comes before what is projected.
    """
    whole: Any = getattr(config.vision_config, "fullatt_block_indexes", None)  # others see windows
    if whole:
        return int(max(whole))
    chosen: Any = feature_layer(config)
    states = [chosen] if isinstance(chosen, int) else list(chosen)
    layer = max(state - 1 if state >= 0 else layers + state for state in states)  # state 0 is what enters layer 0
    if not 0 <= layer < layers:
        raise UnsupportedModelError(
            f"vision_feature_layer={chosen} takes no layer's output of a tower of {layers} layers, so none is looked at"
        )
    return layer


def feature_layer(config: PreTrainedConfig) -> int | list[int]:
    """Which hidden states of the tower are projected; the last where the config does not say."""
    names = ("vision_feature_layer", "vision_feature_layers")
    found: int | list[int] = next((value for name in names if (value := getattr(config, name, None)) is not None), -1)
    return found


def _type_of(config: PreTrainedConfig) -> str:
    return str(getattr(getattr(config, "vision_config", None), "model_type", "none"))
