"""What the runtime must know of a family: where its parts are, and what is special about its decoder."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Traits:
    """Data for an entry of `visionflow.runtime.families`, and how the decoder behaves.

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
        axes: position ids reach the decoder as ``[axes, batch, tokens]``; 1: plain ones, or none.
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
    caches: tuple[str, ...] = ("DynamicLayer",)
    last_rows: int | None = None

    note: str = ""


TRAITS: dict[str, Traits] = {
    "llava": Traits(),
    "vipllava": Traits(),
    "llava_next": Traits(
        text_type="mistral",
        attention_inputs=("sliding_window",),
        caches=("DynamicSlidingWindowLayer",),
        note="newline features are image tokens",
    ),
    "llava_next_video": Traits(video_inputs=("pixel_values_videos",), note="newline features are image tokens"),
    "llava_onevision": Traits(
        text_type="qwen2", video_inputs=("pixel_values_videos",), note="newline features are image tokens"
    ),
    "video_llava": Traits(video_inputs=("pixel_values_videos",), note="the model takes pixel_values_images"),
    "aya_vision": Traits(
        text_type="cohere2",
        masks="by type",
        attention_inputs=("sliding_window",),
        caches=("DynamicLayer", "DynamicSlidingWindowLayer"),
    ),
    "cohere2_vision": Traits(
        text_type="cohere2",
        masks="by type",
        attention_inputs=("sliding_window",),
        caches=("DynamicLayer", "DynamicSlidingWindowLayer"),
    ),
    "internvl": Traits(text_type="qwen2"),
    "qianfan_ocr": Traits(text_type="qwen3"),
    "got_ocr2": Traits(text_type="qwen2"),
    "pp_chart2table": Traits(text_type="qwen2"),
    "deepseek_vl": Traits(),
    "paligemma": Traits(
        text_type="gemma",
        ready_masks=True,
        both_ways=True,
        note="the whole prompt is a prefix that is read both ways, padding mask made by the merger; generated tokens have token type 1",
    ),
    "perception_lm": Traits(note="its timm tower is replaced by a SigLIP; a picture is a list of tiles"),
    "aria": Traits(text_type="aria_text"),
    "gemma3": Traits(
        text_type="gemma3_text",
        rotary="by type",
        masks="by type",
        ready_masks=True,
        both_ways=True,
        attention_inputs=("sliding_window",),
        caches=("DynamicLayer", "DynamicSlidingWindowLayer"),
        note="pictures are read both ways, each within itself",
    ),
    "shieldgemma2": Traits(
        text_type="gemma3_text",
        rotary="by type",
        masks="by type",
        ready_masks=True,
        both_ways=True,
        attention_inputs=("sliding_window",),
        caches=("DynamicLayer", "DynamicSlidingWindowLayer"),
        note="Gemma 3 under another model type",
    ),
    "gemma4": Traits(
        text_type="gemma4_text",
        video_inputs=("pixel_values_videos",),
        rotary="by type",
        masks="by type",
        ready_masks=True,
        decoder_inputs=("per_layer_inputs",),
        layer_inputs=("argument 1",),
        layer_state=("shared_kv_states",),
        attention_inputs=("sliding_window",),
        caches=("DummyLayer", "DynamicLayer", "DynamicSlidingWindowLayer"),
        last_rows=3,
        note="the last layers read the keys and values of earlier ones; from the first of these on, generate runs the last row only",
    ),
    "gemma4_unified": Traits(
        text_type="gemma4_unified_text",
        video_inputs=("pixel_values_videos",),
        rotary="by type",
        masks="by type",
        ready_masks=True,
        both_ways=True,
        layer_state=("shared_kv_states",),
        attention_inputs=("sliding_window",),
        caches=("DynamicLayer", "DynamicSlidingWindowLayer"),
        note="no tower; pictures are read both ways, each within itself",
    ),
    "gemma3n": Traits(
        text_type="gemma3n_text",
        rotary="by type",
        masks="by type",
        decoder_inputs=("per_layer_inputs",),
        layer_inputs=("argument 2",),
        layer_state=("shared_kv_states",),
        token_axis=2,
        attention_inputs=("sliding_window",),
        caches=("DummyLayer", "DynamicLayer", "DynamicSlidingWindowLayer"),
        note="its timm tower is replaced by a ResNet; hidden states are [altup, batch, tokens, width]; layers get position embeddings and per-layer inputs as positional arguments; the last layers read the keys and values of earlier ones",
    ),
    "mistral3": Traits(
        text_type="mistral",
        attention_inputs=("sliding_window",),
        caches=("DynamicSlidingWindowLayer",),
        note="row-break and end tokens are text",
    ),
    "lighton_ocr": Traits(text_type="qwen3", note="row-break and end tokens are text"),
    "idefics2": Traits(
        text_type="mistral",
        decoder="model.text_model",
        attention_inputs=("sliding_window",),
        caches=("DynamicSlidingWindowLayer",),
        note="pictures come as [batch, most pictures of a sample, ...]; tiles stand between separator tokens, which are text",
    ),
    "idefics3": Traits(decoder="model.text_model", note="as idefics2"),
    "smolvlm": Traits(decoder="model.text_model", note="as idefics2"),
    "granite_docling": Traits(
        text_type="granite_docling_text",
        decoder="model.text_model",
        deepstack=(0, 1, 2),
        decoder_inputs=("visual_pos_masks",),
        note="as idefics2",
    ),
    "ovis2": Traits(text_type="qwen2", note="visual indicator tokens around a picture are text by id"),
    "deepseek_vl_hybrid": Traits(image_inputs=("pixel_values", "high_res_pixel_values")),
    "janus": Traits(),
    "fast_vlm": Traits(text_type="qwen2", note="its timm tower is replaced by a ResNet"),
    "granite4_vision": Traits(
        text_type="granite4_vision_text",
        deepstack=(0, 1, 2, 3, 4),
        decoder_inputs=("vision_mask",),
        note="features of other tower layers are added before each of several decoder layers, also deep ones (spatial_target_layers)",
    ),
    "fuyu": Traits(
        text_type="persimmon",
        projection="dense",
        norm="final_layernorm",
        note="row-break tokens are text; fused query_key_value",
    ),
    "llama4": Traits(
        text_type="llama4_text",
        merger="",
        decoder="language_model.model",
        rotary="complex",
        masks="by type",
        caches=("DynamicLayer", "DynamicSlidingWindowLayer"),
        note="chunked attention; layers without RoPE scale queries by their place in the cache (no effect before floor_scale = 8192); the merger is the model itself",
    ),
    "step3p7": Traits(
        text_type="step3p5",
        masks="by type",
        attention_inputs=("sliding_window",),
        caches=("DynamicLayer", "DynamicSlidingWindowLayer"),
        note="heads are gated after attention",
    ),
    "deepseek_ocr2": Traits(
        text_type="deepseek_ocr2_text",
        note="144 tokens of a view are fixed in the code; the view separator is an image token",
    ),
    "unlimited_ocr": Traits(
        text_type="unlimited_ocr_text",
        caches=("UnlimitedOcrDynamicReferenceSlidingWindowLayer",),
        note="prompt kept whole, generated tokens in a window, in a cache layer of its own, whose first layer makes the mask of all; row ends and the view separator are image tokens",
    ),
    "mistral_large4": Traits(
        text_type="mistral_large4_text",
        layer_inputs=("prev_topk_indices",),
        layer_state=("shared_kv_states",),
        layer_outputs="tuple",
        caches=("DynamicIndexedLayer",),
        note="compressed keys and values; an indexer picks keys under the mask, and its picks (places in the cache) may be reused by the next layers; keys and values may be shared between layers",
    ),
    "chameleon": Traits(
        text_type="chameleon",
        decoder="model",
        layer_outputs="tuple",
        note="the merger is the decoder itself; a picture is codes of the text vocabulary",
    ),
    "emu3": Traits(
        text_type="emu3_text_model",
        decoder="model.text_model",
        note="row ends are image tokens; a picture is codes of the text vocabulary",
    ),
    "molmo2": Traits(
        text_type="molmo2_text",
        ready_masks=True,
        both_ways=True,
        note="begin, end and row tokens are text by id but belong to the block that is read both ways; all pictures of a sample are one block; pooling indices count patches of the whole batch",
    ),
    "qwen2_vl": Traits(
        text_type="qwen2_vl_text", video_inputs=("pixel_values_videos",), axes=3, layer_positions="none"
    ),
    "qwen2_5_vl": Traits(
        text_type="qwen2_5_vl_text", video_inputs=("pixel_values_videos",), axes=3, layer_positions="none"
    ),
    "qwen3_vl": Traits(
        text_type="qwen3_vl_text",
        video_inputs=("pixel_values_videos",),
        axes=3,
        layer_positions="none",
        deepstack=(0, 1, 2),
        decoder_inputs=("visual_pos_masks",),
    ),
    "qwen3_vl_moe": Traits(
        text_type="qwen3_vl_moe_text",
        video_inputs=("pixel_values_videos",),
        axes=3,
        layer_positions="none",
        deepstack=(0, 1, 2),
        decoder_inputs=("visual_pos_masks",),
    ),
    "qwen2_5_omni_thinker": Traits(
        text_type="qwen2_5_omni_text", video_inputs=("pixel_values_videos",), axes=3, layer_positions="none"
    ),
    "qwen3_omni_moe_thinker": Traits(
        text_type="qwen3_omni_moe_text",
        video_inputs=("pixel_values_videos",),
        axes=3,
        layer_positions="none",
        deepstack=(0, 1, 2),
        decoder_inputs=("visual_pos_masks",),
    ),
    "glm4v": Traits(
        text_type="glm4v_text",
        video_inputs=("pixel_values_videos",),
        axes=3,
        layer_positions="none",
        note="video tokens have the id of image tokens, so pictures and videos cannot be mixed in one call",
    ),
    "glm46v": Traits(
        text_type="glm4v_text", video_inputs=("pixel_values_videos",), axes=3, layer_positions="none", note="as glm4v"
    ),
    "glmga": Traits(
        text_type="glm4v_text", video_inputs=("pixel_values_videos",), axes=3, layer_positions="none", note="as glm4v"
    ),
    "glm_ocr": Traits(
        text_type="glm_ocr_text", video_inputs=("pixel_values_videos",), axes=3, layer_positions="none", note="as glm4v"
    ),
    "glm4v_moe": Traits(
        text_type="glm4v_moe_text",
        video_inputs=("pixel_values_videos",),
        axes=3,
        layer_positions="axes",
        note="as glm4v",
    ),
    "ernie4_5_vl_moe": Traits(
        text_type="ernie4_5_vl_moe_text",
        video_inputs=("pixel_values_videos",),
        axes=3,
        layer_positions="axes",
        decoder_inputs=("moe_mm_token_type_ids",),
        layer_inputs=("moe_mm_token_type_ids",),
        note="moe_mm_token_type_ids sends image tokens to experts of their own, per token in every layer",
    ),
    "exaone4_5": Traits(
        text_type="exaone4",
        video_inputs=("pixel_values_videos",),
        masks="by type",
        attention_inputs=("sliding_window",),
        caches=("DynamicLayer", "DynamicSlidingWindowLayer"),
        note="layers without a window have no RoPE (inside the attention module)",
    ),
    "hyperclovax_vision_v2": Traits(text_type="hyperclovax", video_inputs=("pixel_values_videos",)),
    "paddleocr_vl": Traits(text_type="paddleocr_vl_text", axes=3, layer_positions="none"),
    "cosmos3_edge": Traits(
        text_type="cosmos3_edge_text", video_inputs=("pixel_values_videos",), axes=3, layer_positions="none"
    ),
    "cosmos3_omni": Traits(
        text_type="qwen3_vl_text",
        video_inputs=("pixel_values_videos",),
        axes=3,
        layer_positions="none",
        deepstack=(0, 1, 2),
        decoder_inputs=("visual_pos_masks",),
    ),
    "cohere_compass": Traits(
        text_type="cohere_compass_text",
        video_inputs=("pixel_values_videos",),
        axes=3,
        layer_positions="none",
        masks="by type",
        deepstack=(0, 1, 2),
        decoder_inputs=("visual_pos_masks",),
        attention_inputs=("sliding_window",),
        caches=("DynamicLayer", "DynamicSlidingWindowLayer"),
    ),
    "video_llama_3": Traits(text_type="qwen2", video_inputs=("pixel_values_videos",)),
    "hunyuan_vl": Traits(
        text_type="hunyuan_vl_text",
        axes=4,
        layer_positions="none",
        note="begin, row-break and end features are image tokens; the fourth axis numbers the pictures through the whole batch, so transformers itself does not give a batch what its samples get alone",
    ),
    "kimi_k25": Traits(
        text_type="deepseek_v3",
        note="compressed keys and values; videos of several frames fail in transformers (split sizes count frames that the tower pooled)",
    ),
    "muse_glimmer": Traits(
        text_type="muse_glimmer_text",
        video_inputs=("pixel_values_videos",),
        rotary="some",
        masks="by type",
        attention_inputs=("sliding_window",),
        caches=("DynamicLayer", "DynamicSlidingWindowLayer"),
        note="layers without RoPE get no position embeddings",
    ),
    "muse_spark": Traits(
        text_type="muse_spark_text",
        video_inputs=("pixel_values_videos",),
        rotary="some",
        masks="by type",
        attention_inputs=("sliding_window",),
        caches=("DynamicLayer", "DynamicSlidingWindowLayer"),
        note="layers without RoPE get no position embeddings",
    ),
    "dots3_note": Traits(
        text_type="dots3_note_text",
        video_inputs=("pixel_values_videos",),
        rotary="by type",
        masks="by type",
        attention_inputs=("sliding_window",),
        caches=("DynamicIndexedLayer", "DynamicSlidingWindowLayer"),
        note="compressed keys and values; an indexer with a key cache of its own picks the keys each query reads, under the mask",
    ),
}
