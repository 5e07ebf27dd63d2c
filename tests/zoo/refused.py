"""Classes of the mapping that cannot be pruned by design; the reasons are those with which the runtime refuses them."""

from visionflow.engines.hf.families import UNSUPPORTED

READ_IN: dict[str, str] = {
    "blip": "modeling_blip_text.py:303",
    "idefics": "modeling_idefics.py:688",
    "mllama": "modeling_mllama.py:662",
    "evolla": "modeling_evolla.py:747, 762",
    "florence2": "modeling_florence2.py:759",
    "pix2struct": "modeling_pix2struct.py:863",
    "pp_formulanet": "modeling_pp_formulanet.py:910",
    "t5gemma2": "modeling_t5gemma2.py:531",
    "udop": "modeling_udop.py:665",
    "vision-encoder-decoder": "modeling_vision_encoder_decoder.py:418",
    "git": "modeling_git.py:832",
    "kosmos-2": "modeling_kosmos2.py:963",
    "kosmos-2.5": "modeling_kosmos2_5.py:945",
    "mistral4": "modeling_mistral4.py has no pixel input",
    "pi0": "modeling_pi0.py:303, 319",
    "diffusion_gemma": "modeling_diffusion_gemma.py:1222",
    "minimax_m3_vl": "minimax_m3_vl:564",
    "inkling2": "modeling_inkling2.py:1308",
    "qwen4_exp": "modeling_qwen4_exp.py:842",
    "glm5_next": "modeling_glm5_next.py:850",
}
"""Where the reason was read in transformers 5.23: file of the model's folder, and lines."""

REFUSED: dict[str, str] = {name: UNSUPPORTED[name] for name in READ_IN}
