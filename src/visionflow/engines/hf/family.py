"""What the runtime knows of a family of models: where its parts are, and what its decoder layers are given."""

from dataclasses import dataclass, replace

from torch import nn
from transformers import PreTrainedModel

from visionflow.engines.hf.sharing import closed_to_cuts

PLAIN_TEXT = ("llama", "mistral", "qwen2", "qwen3")
"""Text models that differ in nothing that the runtime sees."""


@dataclass(frozen=True)
class Family:
    """Module paths and names of one family of models, relative to the whole model.

    Attributes:
        model_type: ``config.model_type`` of the whole model.
        text_types: ``model_type`` of the text configs this entry was tested with.
        merger: the module that gets input ids and pictures and calls the decoder; "" for the model itself.
        decoder: the text decoder; its layers are under ``layers``.
        attention: the attention module inside a decoder layer.
        projection: the output projection W_O inside an attention module.
        norm: the normalisation inside the decoder that comes after its last layer.
        image_tokens: names of the config fields with the placeholders' token ids, those of videos last.
        image_inputs: arguments of the merger that carry pictures or videos, by old names too; without one there are no
            image tokens.
        token_inputs: arguments of the decoder layers, beyond the usual ones, that are ``[batch, tokens, ...]``.
        token_axis: axis of the tokens in the hidden states.
        shares_keys: late layers read the keys and values of earlier ones, so that all cuts must be before these.
        state_mask: the argument in which layers with states get the real tokens, ``[batch, tokens]``.
        gated: each number that a head reads is gated before W_O.
        leaks: fields of the text config under which padding enters the states all the same.
        ids_apart: the merger gets embeddings; ids are those that the whole model, or its `generate`, was given.
    """

    model_type: str
    text_types: tuple[str, ...] = PLAIN_TEXT
    merger: str = "model"
    decoder: str = "model.language_model"
    attention: str = "self_attn"
    projection: str = "o_proj"
    norm: str = "norm"
    image_tokens: tuple[str, ...] = ("image_token_id",)
    image_inputs: tuple[str, ...] = ("pixel_values",)
    token_inputs: tuple[str, ...] = ()
    token_axis: int = 1
    shares_keys: bool = False
    state_mask: str = "attention_mask"
    leaks: tuple[str, ...] = ()
    gated: bool = False
    ids_apart: bool = False

    def without_head(self) -> "Family":
        """The same for the bare model inside the whole one, at ``model``."""
        return replace(self, merger=_inside(self.merger), decoder=_inside(self.decoder))

    def fits(self, model: nn.Module) -> bool:
        """Whether the parts of `model` are where this says."""
        try:
            self.merger_of(model)
            return bool(self.layers_of(model))
        except AttributeError:
            return False

    def merger_of(self, model: nn.Module) -> nn.Module:
        """The module that merges picture features into the token embeddings."""
        return model.get_submodule(self.merger)

    def decoder_of(self, model: nn.Module) -> nn.Module:
        """The text decoder."""
        return model.get_submodule(self.decoder)

    def layers_of(self, model: nn.Module) -> list[nn.Module]:
        """The decoder layers, first to last."""
        return list(self.decoder_of(model).get_submodule("layers").children())

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
        """The id that stands for one token of a picture in the input ids."""
        return int(getattr(model.config, self.image_tokens[0]))

    def image_token_ids(self, model: PreTrainedModel) -> tuple[int, ...]:
        """The ids that stand for one token of a picture or of a video."""
        ids = [getattr(model.config, name, None) for name in self.image_tokens]
        return tuple(int(each) for each in ids if each is not None)

    def keyless(self, model: nn.Module) -> frozenset[int]:
        """The layers that keep no keys of their own."""
        attentions = [self.attention_of(layer) for layer in self.layers_of(model)] if self.shares_keys else []
        return frozenset(index for index, attention in enumerate(attentions) if attention.is_kv_shared_layer)

    def closed_to_cuts(self, model: PreTrainedModel) -> frozenset[int]:
        """The layers before which no tokens may be dropped, since keys are shared across; empty where none are."""
        if not self.shares_keys:
            return frozenset()
        attentions = [self.attention_of(layer) for layer in self.layers_of(model)]
        return closed_to_cuts(attentions, model.config.get_text_config())

    def last_cut(self, model: PreTrainedModel) -> int:
        """The last layer before which tokens may be dropped."""
        return max(set(range(len(self.layers_of(model)))) - self.closed_to_cuts(model))


def _inside(path: str) -> str:
    """The path of a part relative to the bare model at ``model``."""
    return path.removeprefix("model").removeprefix(".")
