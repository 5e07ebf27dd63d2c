"""What the runtime must know of a family: where its parts are, and what is special about its decoder."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Traits:
    """Data for an entry of `visionflow.engines.hf.families`, and how the decoder behaves.

    The first group says where things are and is checked on the instance; the second is observed on it, field by field,
    by `tests.zoo.observe.traits_of`.

    Attributes:
        text_type: ``model_type`` of the text config.
        merger: the module that gets input ids and pictures and calls the decoder; "" is the model itself.
        decoder: the module that loops over the decoder layers, which are under its ``layers``.
        attention: the attention module inside a layer.
        projection: the output projection inside the attention module.
        norm: the decoder's normalisation after its last layer.
        image_token: config field with the placeholder's id.
        image_inputs: arguments in which the merger gets pictures; `generate` passes ``mm_encoder_outputs`` instead.
        video_inputs: arguments in which it gets videos.
        video_token: config field with the id of the placeholder of videos.
        axes: position ids reach the decoder as ``[axes, batch, tokens]``, different in pictures; 1: plain or none.
        layer_positions: what layers get as ``position_ids``: "plain", "axes" (all of them) or "none".
        rotary: ``position_embeddings`` of the layers: "one" pair for all, "by type" of layer, "some" (layers without
            RoPE get None), "complex" (one complex tensor, no pair), "none".
        masks: "one" for all layers, or "by type" of layer.
        ready_masks: the merger makes the masks, and the decoder gets them instead of the 2-D one.
        both_ways: image tokens read later image tokens.
        deepstack: layers after which something is added to the hidden states before the next layer.
        decoder_inputs: further arguments of the decoder that have a token axis.
        layer_inputs: further arguments of layers that have a token axis, by position where they have no name.
        layer_state: further arguments of layers that are state shared between layers.
        layer_outputs: "tensor", or "tuple" with the hidden states first.
        token_axis: axis of the tokens in the hidden states.
        attention_inputs: arguments of the attention function beyond query, key, value, mask, dropout and scaling, where
            they are not None.
        probed: layers whose attention module calls transformers' attention interface once.
        wrapped: a wrapper of the attention function, under a name of its own on a copied config, changes nothing; False
            where the attention module compares that name with "sdpa", and silently computes something else.
        caches: kinds of cache layers that `generate` makes.
        last_rows: the layer from which on the prefill of `generate` runs the last row only.
        note: what else is special, or what transformers itself does not hold.
    """

    text_type: str = "llama"
    merger: str = "model"
    decoder: str = "model.language_model"
    attention: str = "self_attn"
    projection: str = "o_proj"
    norm: str = "norm"
    image_token: str = "image_token_id"

    image_inputs: tuple[str, ...] = ("pixel_values",)
    video_inputs: tuple[str, ...] = ()
    video_token: str = ""
    axes: int = 1
    layer_positions: str = "plain"
    rotary: str = "one"
    masks: str = "one"
    ready_masks: bool = False
    both_ways: bool = False
    deepstack: tuple[int, ...] = ()
    decoder_inputs: tuple[str, ...] = ()
    layer_inputs: tuple[str, ...] = ()
    layer_state: tuple[str, ...] = ()
    layer_outputs: str = "tensor"
    token_axis: int = 1
    attention_inputs: tuple[str, ...] = ()
    probed: int = 6
    wrapped: bool = True
    caches: tuple[str, ...] = ("DynamicLayer",)
    last_rows: int | None = None

    note: str = ""
