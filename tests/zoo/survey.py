"""The survey: for every family of the zoo what `tests.zoo.observe` sees on its instance; the tests compare them."""

from typing import Any

from tests.zoo.traits import Traits

WINDOWS: dict[str, Any] = {
    "masks": "by type",
    "attention_inputs": ("sliding_window",),
    "caches": ("DynamicLayer", "DynamicSlidingWindowLayer"),
}
MROPE: dict[str, Any] = {"axes": 3, "layer_positions": "none"}
DEEPSTACK: dict[str, Any] = {"deepstack": (0, 1, 2), "decoder_inputs": ("visual_pos_masks",)}
VIDEOS: dict[str, Any] = {"video_inputs": ("pixel_values_videos",), "video_token": "video_token_id"}
GLM_VIDEOS = VIDEOS | {"video_token": "image_token_id"}
STATES: dict[str, Any] = {"masks": "by type", "probed": 2, "caches": ("DynamicLayer", "LinearAttentionLayer")}
DELTA = "most layers run a gated delta rule; heads are gated after attention"
SHORT = "most layers are short convolutions"
NEWLINES = "row ends are image tokens"

SURVEY: dict[str, Traits] = {
    "llava": Traits(),
    "vipllava": Traits(),
    "llava_next": Traits(
        "mistral", attention_inputs=("sliding_window",), caches=("DynamicSlidingWindowLayer",), note=NEWLINES
    ),
    "llava_next_video": Traits(**VIDEOS, note=NEWLINES),
    "llava_onevision": Traits("qwen2", **VIDEOS, note=NEWLINES),
    "video_llava": Traits(**VIDEOS, note="the model takes pixel_values_images"),
    "aya_vision": Traits("cohere2", **WINDOWS),
    "cohere2_vision": Traits("cohere2", **WINDOWS),
    "internvl": Traits("qwen2"),
    "qianfan_ocr": Traits("qwen3"),
    "got_ocr2": Traits("qwen2"),
    "pp_chart2table": Traits("qwen2"),
    "deepseek_vl": Traits(),
    "paligemma": Traits(
        "gemma",
        ready_masks=True,
        both_ways=True,
        note="the prompt is a prefix read both ways; generated tokens have token type 1",
    ),
    "perception_lm": Traits(note="tower replaced (timm); a picture is a list of tiles"),
    "aria": Traits("aria_text"),
    "gemma3": Traits(
        "gemma3_text",
        rotary="by type",
        ready_masks=True,
        both_ways=True,
        **WINDOWS,
        note="pictures are read both ways, each within itself",
    ),
    "shieldgemma2": Traits(
        "gemma3_text",
        rotary="by type",
        ready_masks=True,
        both_ways=True,
        **WINDOWS,
        note="Gemma 3 under another model type",
    ),
    "gemma4": Traits(
        "gemma4_text",
        rotary="by type",
        masks="by type",
        ready_masks=True,
        decoder_inputs=("per_layer_inputs",),
        layer_inputs=("argument 1",),
        layer_state=("shared_kv_states",),
        attention_inputs=("sliding_window",),
        caches=("DummyLayer", "DynamicLayer", "DynamicSlidingWindowLayer"),
        last_rows=4,
        **VIDEOS,
        note="late layers read keys and values of earlier ones; there generate runs the last row only",
    ),
    "gemma4_unified": Traits(
        "gemma4_unified_text",
        rotary="by type",
        ready_masks=True,
        both_ways=True,
        layer_state=("shared_kv_states",),
        **WINDOWS,
        **VIDEOS,
        note="no tower; pictures are read both ways, each within itself",
    ),
    "gemma3n": Traits(
        "gemma3n_text",
        rotary="by type",
        masks="by type",
        decoder_inputs=("per_layer_inputs",),
        layer_inputs=("argument 2",),
        layer_state=("shared_kv_states",),
        token_axis=2,
        attention_inputs=("sliding_window",),
        caches=("DummyLayer", "DynamicLayer", "DynamicSlidingWindowLayer"),
        note="tower replaced (timm); argument 1 is the rotary pair; late layers read keys and values of earlier ones",
    ),
    "mistral3": Traits(
        "mistral",
        attention_inputs=("sliding_window",),
        caches=("DynamicSlidingWindowLayer",),
        note="row-break and end tokens are text",
    ),
    "lighton_ocr": Traits("qwen3", note="row-break and end tokens are text"),
    "idefics2": Traits(
        "mistral",
        decoder="model.text_model",
        attention_inputs=("sliding_window",),
        caches=("DynamicSlidingWindowLayer",),
        note="pictures come as [batch, pictures, ...]; tiles stand between separator tokens, which are text",
    ),
    "idefics3": Traits(decoder="model.text_model", note="as idefics2"),
    "smolvlm": Traits(decoder="model.text_model", note="as idefics2"),
    "granite_docling": Traits("granite_docling_text", decoder="model.text_model", **DEEPSTACK, note="as idefics2"),
    "ovis2": Traits("qwen2", note="visual indicator tokens around a picture are text by id"),
    "deepseek_vl_hybrid": Traits(image_inputs=("pixel_values", "high_res_pixel_values")),
    "janus": Traits(),
    "fast_vlm": Traits("qwen2", note="tower replaced (timm)"),
    "granite4_vision": Traits(
        "granite4_vision_text",
        deepstack=(0, 1, 2, 3, 4),
        decoder_inputs=("vision_mask",),
        note="features are added before each of several layers, also deep ones",
    ),
    "fuyu": Traits(
        "persimmon", projection="dense", norm="final_layernorm", note="row-break tokens are text; fused query_key_value"
    ),
    "llama4": Traits(
        "llama4_text",
        merger="",
        decoder="language_model.model",
        rotary="complex",
        masks="by type",
        caches=("DynamicLayer", "DynamicSlidingWindowLayer"),
        note="chunked attention; layers without RoPE scale queries by their place in the cache from 8192 on",
    ),
    "step3p7": Traits("step3p5", **WINDOWS, note="heads are gated after attention"),
    "deepseek_ocr2": Traits("deepseek_ocr2_text", note="the view separator is an image token"),
    "unlimited_ocr": Traits(
        "unlimited_ocr_text",
        caches=("UnlimitedOcrDynamicReferenceSlidingWindowLayer",),
        note="generated tokens in a window, the prompt kept; the first cache layer makes the masks of all",
    ),
    "mistral_large4": Traits(
        "mistral_large4_text",
        layer_inputs=("prev_topk_indices",),
        layer_state=("shared_kv_states",),
        layer_outputs="tuple",
        caches=("DynamicIndexedLayer",),
        wrapped=False,
        note="an indexer picks what queries read; where layers share keys or picks, no cut between them",
    ),
    "chameleon": Traits(
        "chameleon",
        decoder="model",
        layer_outputs="tuple",
        note="the merger is the decoder; pictures are codes of the text vocabulary",
    ),
    "emu3": Traits(
        "emu3_text_model",
        decoder="model.text_model",
        note="row ends are image tokens; pictures are codes of the text vocabulary",
    ),
    "molmo2": Traits(
        "molmo2_text",
        ready_masks=True,
        both_ways=True,
        note="row, begin and end tokens are text by id, but read both ways; one block for all pictures",
    ),
    "qwen2_vl": Traits("qwen2_vl_text", **MROPE, **VIDEOS),
    "qwen2_5_vl": Traits("qwen2_5_vl_text", **MROPE, **VIDEOS),
    "qwen3_vl": Traits("qwen3_vl_text", **MROPE, **DEEPSTACK, **VIDEOS),
    "qwen3_vl_moe": Traits("qwen3_vl_moe_text", **MROPE, **DEEPSTACK, **VIDEOS),
    "qwen2_5_omni_thinker": Traits("qwen2_5_omni_text", **MROPE, **VIDEOS),
    "qwen3_omni_moe_thinker": Traits("qwen3_omni_moe_text", **MROPE, **DEEPSTACK, **VIDEOS),
    "glm4v": Traits("glm4v_text", **MROPE, **GLM_VIDEOS, note="videos have the id of pictures: no call with both"),
    "glm46v": Traits("glm4v_text", **MROPE, **GLM_VIDEOS, note="as glm4v"),
    "glmga": Traits("glm4v_text", **MROPE, **GLM_VIDEOS, note="as glm4v"),
    "glm_ocr": Traits("glm_ocr_text", **MROPE, **GLM_VIDEOS, note="as glm4v"),
    "glm4v_moe": Traits("glm4v_moe_text", axes=3, layer_positions="axes", **GLM_VIDEOS, note="as glm4v"),
    "ernie4_5_vl_moe": Traits(
        "ernie4_5_vl_moe_text",
        axes=3,
        layer_positions="axes",
        decoder_inputs=("moe_mm_token_type_ids",),
        layer_inputs=("moe_mm_token_type_ids",),
        **VIDEOS,
        note="moe_mm_token_type_ids sends image tokens to experts of their own",
    ),
    "exaone4_5": Traits(
        "exaone4", **WINDOWS, **VIDEOS, note="layers without a window have no RoPE, inside the attention module"
    ),
    "hyperclovax_vision_v2": Traits("hyperclovax", **VIDEOS),
    "paddleocr_vl": Traits("paddleocr_vl_text", **MROPE),
    "cosmos3_edge": Traits("cosmos3_edge_text", **MROPE, **VIDEOS),
    "cosmos3_omni": Traits("qwen3_vl_text", **MROPE, **DEEPSTACK, **VIDEOS),
    "cohere_compass": Traits("cohere_compass_text", **WINDOWS, **MROPE, **DEEPSTACK, **VIDEOS),
    "video_llama_3": Traits("qwen2", **VIDEOS),
    "hunyuan_vl": Traits(
        "hunyuan_vl_text",
        axes=4,
        layer_positions="none",
        note="begin, row and end are image tokens; an axis numbers pictures through the whole batch",
    ),
    "kimi_k25": Traits("deepseek_v3", note="compressed keys and values; videos of several frames fail in transformers"),
    "muse_glimmer": Traits(
        "muse_glimmer_text", rotary="some", **WINDOWS, **VIDEOS, note="layers without RoPE get no position embeddings"
    ),
    "muse_spark": Traits(
        "muse_spark_text", rotary="some", **WINDOWS, **VIDEOS, note="layers without RoPE get no position embeddings"
    ),
    "dots3_note": Traits(
        "dots3_note_text",
        rotary="by type",
        masks="by type",
        attention_inputs=("sliding_window",),
        caches=("DynamicIndexedLayer", "DynamicSlidingWindowLayer"),
        **VIDEOS,
        wrapped=False,
        note="an indexer picks what queries read; heads are gated after attention",
    ),
    "qwen3_5": Traits("qwen3_5_text", **MROPE, **STATES, **VIDEOS, note=DELTA),
    "qwen3_5_moe": Traits("qwen3_5_moe_text", **MROPE, **STATES, **VIDEOS, note=DELTA),
    "minicpmv4_6": Traits("qwen3_5_text", **STATES, note=DELTA),
    "minicpmv4_7": Traits("qwen3_5_text", **MROPE, **STATES, note=DELTA),
    "minicpm_ocr": Traits("qwen3_5_text", **STATES, note=DELTA),
    "lfm2_vl": Traits("lfm2", projection="out_proj", norm="embedding_norm", **STATES, note=SHORT),
    "lfm3_vl": Traits(
        "lfm3",
        norm="embedding_norm",
        rotary="some",
        attention_inputs=("sliding_window",),
        **STATES | {"caches": ("DynamicLayer", "DynamicSlidingWindowLayer", "LinearAttentionLayer")},
        **VIDEOS,
        note=f"{SHORT}; heads are gated after attention",
    ),
    "nemotron_h_omni": Traits(
        "nemotron_h",
        merger="",
        decoder="language_model.model",
        attention="mixer",
        norm="norm_f",
        rotary="none",
        **STATES | {"caches": ("DummyLayer", "DynamicLayer", "LinearAttentionLayer")},
        note="most layers run Mamba 2, others are feed-forward alone",
    ),
}
