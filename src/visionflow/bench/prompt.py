"""A prompt of any number of image and text tokens: random words, random pixels."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from visionflow.cost.shape import DecoderShape
from visionflow.engines.hf.families import family_of
from visionflow.errors import VisionFlowError

_SYSTEM = 35  # LLaVA-1.5's system prompt
PICTURE = 576  # image tokens where a model's own number depends on the picture


@dataclass(frozen=True)
class BenchPrompt:
    """A batch without padding.

    Attributes:
        ids: int64 ``[batch, tokens]``: text, one run of image tokens, text.
        pictures: what the vision encoder gets.
        image_tokens: of each sample.
        text_tokens: of each sample, before and after the picture.
        extra: what the model needs besides ids and features, to place the image tokens.
    """

    ids: Tensor
    pictures: dict[str, Tensor]
    image_tokens: int
    text_tokens: int
    extra: dict[str, Tensor] = field(default_factory=dict)

    def encode(self, model: PreTrainedModel) -> list[Tensor]:
        """Vision encoder and projector on all pictures of the batch, as `generate` calls them."""
        return list(model.base_model.get_image_features(**self.pictures, return_dict=True).pooler_output)

    def features(self, model: PreTrainedModel) -> Tensor:
        """What the encoder makes of the pictures, cut to the prompt's image tokens: ``[batch, image_tokens, d]``."""
        features = torch.cat(self.encode(model))
        return features.view(len(self.ids), -1, features.shape[-1])[:, : self.image_tokens]

    def noise(self, model: PreTrainedModel) -> Tensor:
        """Features that no encoder was run for."""
        width = model.config.get_text_config().hidden_size
        return torch.randn(len(self.ids), self.image_tokens, width).to(model.device, model.dtype)

    def decoder_inputs(self, features: Tensor) -> dict[str, Any]:
        """The model's arguments for the prompt with its pictures encoded already."""
        encoded = BaseModelOutputWithPooling(pooler_output=list(features))
        return {"input_ids": self.ids, "mm_encoder_outputs": {"image": encoded}, **self.extra}


def picture_tokens(model: PreTrainedModel) -> int:
    """Image tokens of one picture, or LLaVA-1.5's number where they depend on the picture."""
    return DecoderShape.from_config(model.config).image_tokens or PICTURE


def make_prompt(
    model: PreTrainedModel, batch: int = 1, image_tokens: int | None = None, text_tokens: int = 64, seed: int = 0
) -> BenchPrompt:
    """A prompt on the model's device; `image_tokens` is one picture of the model by default.

    Raises:
        VisionFlowError: too few tokens, or prompts for this family are not known.
    """
    if image_tokens is None:
        image_tokens = picture_tokens(model)
    if image_tokens < 1:
        raise VisionFlowError(f"--image-tokens must be at least 1, not {image_tokens}")
    if text_tokens < 2:
        raise VisionFlowError(f"--text-tokens must be at least 2, around the picture, not {text_tokens}")
    make = pictures_for(model.config.model_type)
    generator = torch.Generator().manual_seed(seed)
    ids = _ids(model, batch, image_tokens, text_tokens, generator)
    pictures, extra = make(model, ids, image_tokens, generator)
    return BenchPrompt(ids.to(model.device), _on(model, pictures), image_tokens, text_tokens, _on(model, extra))


def _ids(model: PreTrainedModel, batch: int, image_tokens: int, text_tokens: int, generator: torch.Generator) -> Tensor:
    image = family_of(model).image_token_id(model)
    vocabulary = model.config.get_text_config().vocab_size
    system = min(_SYSTEM, text_tokens // 2)
    text = torch.randint(0, vocabulary, (batch, text_tokens), generator=generator)
    text[text == image] = (image + 1) % vocabulary
    return torch.cat([text[:, :system], torch.full((batch, image_tokens), image), text[:, system:]], 1)


Pictures = tuple[dict[str, Tensor], dict[str, Tensor]]


def _llava(model: PreTrainedModel, ids: Tensor, image_tokens: int, generator: torch.Generator) -> Pictures:
    """As many whole pictures (tiles) as hold so many tokens."""
    own = DecoderShape.from_config(model.config).image_tokens
    if own is None:
        raise VisionFlowError("how many tokens this model's vision tower makes of a picture is not known")
    count, size = len(ids) * math.ceil(image_tokens / own), model.config.vision_config.image_size
    return {"pixel_values": torch.randn(count, 3, size, size, generator=generator)}, {}


def _qwen(model: PreTrainedModel, ids: Tensor, image_tokens: int, generator: torch.Generator) -> Pictures:
    """One picture a sample, as near to a square as so many tokens allow."""
    vision = model.config.vision_config
    height = max(side for side in range(1, math.isqrt(image_tokens) + 1) if image_tokens % side == 0)
    merge = vision.spatial_merge_size
    grid = torch.tensor([[1, height * merge, image_tokens // height * merge]]).expand(len(ids), 3).contiguous()
    features = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    pixels = torch.randn(int(grid.prod(1).sum()), features, generator=generator)
    kinds = (ids == model.config.image_token_id).int()
    return {"pixel_values": pixels, "image_grid_thw": grid}, {"image_grid_thw": grid, "mm_token_type_ids": kinds}


_PICTURES: dict[str, Callable[[PreTrainedModel, Tensor, int, torch.Generator], Pictures]] = {
    "llava": _llava,
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_5", "qwen3_5_moe"), _qwen),
}


def pictures_for(model_type: str) -> Callable[[PreTrainedModel, Tensor, int, torch.Generator], Pictures]:
    """What makes the pictures of a model of that type.

    Raises:
        VisionFlowError: nobody knows how.
    """
    if model_type not in _PICTURES:
        raise VisionFlowError(
            f"bench and scaling have no pictures for model type {model_type!r} yet, only for {', '.join(_PICTURES)}"
        )
    return _PICTURES[model_type]


def _on(model: PreTrainedModel, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """On the model's device, floats in its dtype."""
    return {
        name: value.to(model.device, model.dtype if value.is_floating_point() else None)
        for name, value in tensors.items()
    }
