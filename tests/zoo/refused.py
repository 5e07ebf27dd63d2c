"""Classes of the mapping that cannot be pruned by design, each with the reason as read in transformers' source."""

_CONVOLUTION = "a short convolution mixes neighbouring tokens, and removing tokens changes who the neighbours are"
_RECURRENCE = "a recurrence over all tokens in most layers (linear attention), which removing tokens changes"
_CROSS = "the decoder reads pictures by cross-attention: it has no image tokens"
_ENCODER = "an encoder-decoder: pictures are in the encoder, and the decoder has no image tokens"
_OWN_GENERATE = (
    "generate calls the language model by itself with embeddings, so its image tokens cannot be told by their ids"
)

REFUSED: dict[str, str] = {
    "blip": _CROSS,  # modeling_blip_text.py:303
    "idefics": _CROSS,  # modeling_idefics.py:688
    "mllama": _CROSS,  # modeling_mllama.py:662
    "evolla": "it reads proteins, not pictures, and by cross-attention",  # modeling_evolla.py:747, 762
    "florence2": _ENCODER,  # modeling_florence2.py:759
    "pix2struct": _ENCODER,  # modeling_pix2struct.py:863
    "pp_formulanet": _ENCODER,  # modeling_pp_formulanet.py:910
    "t5gemma2": _ENCODER,  # modeling_t5gemma2.py:531
    "udop": _ENCODER,  # modeling_udop.py:665
    "vision-encoder-decoder": _ENCODER,  # modeling_vision_encoder_decoder.py:418
    "git": "picture features stand before the embeddings without tokens of their own",  # modeling_git.py:832
    "kosmos-2": "image tokens are told by a mask argument, not by their id",  # modeling_kosmos2.py:963
    "kosmos-2.5": "image tokens are told by a mask argument, not by their id",  # modeling_kosmos2_5.py:945
    "blip-2": _OWN_GENERATE,  # modeling_blip_2.py:1820
    "instructblip": _OWN_GENERATE,  # modeling_instructblip.py:1380
    "instructblipvideo": _OWN_GENERATE,  # modeling_instructblipvideo.py:1328
    "mistral4": "a text model: it takes no pictures",  # modeling_mistral4.py has no pixel input
    "pi0": "a robot policy: it gives actions by flow matching, not tokens",  # modeling_pi0.py:303, 319
    "diffusion_gemma": "a block diffusion: it denoises a canvas of tokens at once",  # modeling_diffusion_gemma.py:1222
    "minimax_m3_vl": "its layers pick blocks of cache slots, which removing tokens shifts",  # minimax_m3_vl:564
    "lfm2_vl": _CONVOLUTION,  # modeling_lfm2.py:392, configuration_lfm2.py:87
    "lfm3_vl": _CONVOLUTION,  # modeling_lfm3.py:417, configuration_lfm3.py:96
    "inkling_mm_model": _CONVOLUTION,  # modeling_inkling.py:209, 212, 563, 566
    "inkling2": _CONVOLUTION,  # modeling_inkling2.py:423, 522
    "qwen3_5": _RECURRENCE,  # modeling_qwen3_5.py:860
    "qwen3_5_moe": _RECURRENCE,  # modeling_qwen3_5_moe.py:940
    "qwen4_exp": _RECURRENCE,  # modeling_qwen4_exp.py:1259
    "minicpmv4_6": _RECURRENCE,  # its text model is qwen3_5_text, configuration_minicpmv4_6.py:88
    "minicpmv4_7": _RECURRENCE,  # configuration_minicpmv4_7.py:100
    "minicpm_ocr": _RECURRENCE,  # configuration_minicpm_ocr.py:81
    "glm5_next": _RECURRENCE,  # modeling_glm5_next.py:1285
    "nemotron_h_omni": "a state-space recurrence (Mamba 2), which removing tokens changes",  # modeling_nemotron_h:924
}
"""Model type to reason; line numbers are those of transformers 5.23."""
