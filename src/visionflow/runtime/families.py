"""Where each model family keeps its parts. A new family is one more entry of `FAMILIES`."""

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from visionflow.errors import UnsupportedModelError


@dataclass(frozen=True)
class Family:
    """Module paths and names of one family of models, relative to the model given to `prune`.

    Attributes:
        model_type: ``config.model_type`` of the whole model.
        text_types: ``model_type`` of the text configs this entry was tested with.
        merger: the module that gets input ids and pictures and calls the decoder.
        decoder: the text decoder; its layers are under ``layers``.
        attention: the attention module inside a decoder layer.
        projection: the output projection W_O inside an attention module.
        norm: the normalisation inside the decoder that comes after its last layer.
        image_token: name of the config field with the placeholder's token id.
        image_inputs: arguments of the merger that carry pictures; without one of them there are no image tokens.
    """

    model_type: str
    text_types: tuple[str, ...]
    merger: str = "model"
    decoder: str = "model.language_model"
    attention: str = "self_attn"
    projection: str = "o_proj"
    norm: str = "norm"
    image_token: str = "image_token_id"
    image_inputs: tuple[str, ...] = ("pixel_values", "mm_encoder_outputs")

    def merger_of(self, model: nn.Module) -> nn.Module:
        """The module that merges picture features into the token embeddings."""
        return model.get_submodule(self.merger)

    def decoder_of(self, model: nn.Module) -> nn.Module:
        """The text decoder."""
        return model.get_submodule(self.decoder)

    def layers_of(self, model: nn.Module) -> list[nn.Module]:
        """The decoder layers, first to last."""
        return list(model.get_submodule(f"{self.decoder}.layers").children())

    def attention_of(self, layer: nn.Module) -> nn.Module:
        """The attention module of one decoder layer."""
        return layer.get_submodule(self.attention)

    def projection_of(self, layer: nn.Module) -> nn.Module:
        """The output projection of one decoder layer's attention."""
        return self.attention_of(layer).get_submodule(self.projection)

    def norm_of(self, model: nn.Module) -> nn.Module:
        """The normalisation between the last decoder layer and the unembedding."""
        return self.decoder_of(model).get_submodule(self.norm)

    def image_token_id(self, model: PreTrainedModel) -> int:
        """The id that stands for one image token in the input ids."""
        return int(getattr(model.config, self.image_token))


FAMILIES: dict[str, Family] = {family.model_type: family for family in (Family("llava", text_types=("llama",)),)}


def family_of_config(config: PreTrainedConfig) -> Family:
    """The entry for the models that `config` describes, before any weights are read.

    Raises:
        UnsupportedModelError: there is none, or not for its text model.
    """
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise UnsupportedModelError(
            f"model type {config.model_type!r} is not supported; supported: {', '.join(FAMILIES)}"
        )
    text_type = config.get_text_config().model_type
    if text_type not in family.text_types:
        raise UnsupportedModelError(
            f"model type {config.model_type!r} with a {text_type!r} text model is not supported; "
            f"supported text models: {', '.join(family.text_types)}"
        )
    return family


def family_of(model: object) -> Family:
    """The entry for `model`.

    Raises:
        UnsupportedModelError: no entry, a compiled model, or a part of the model (not the whole) was given.
    """
    if hasattr(model, "_orig_mod") or getattr(model, "_compiled_call_impl", None) is not None:
        raise UnsupportedModelError("the model is compiled with torch.compile: prune the model it was made from")
    if not isinstance(model, PreTrainedModel):
        raise UnsupportedModelError(f"prune needs a transformers model, not {type(model).__name__}")
    try:
        family = family_of_config(model.config)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{type(model).__name__}: {error}") from None
    if not model.can_generate():
        raise UnsupportedModelError(
            f"{type(model).__name__} is a part of a model: give the whole one, for example from "
            "AutoModelForImageTextToText.from_pretrained"
        )
    return family
