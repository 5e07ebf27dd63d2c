"""Tiny checkpoints in the files of the original systems: names and layouts written out, weights random."""

import base64
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models
from torch import Tensor

from visionflow.legacy.qwen_vl_prompt import SPECIALS

Weights = dict[str, Tensor]

TINY_TOWER = {
    "model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3,
    "num_attention_heads": 2, "image_size": 336, "patch_size": 14, "projection_dim": 16,
}  # fmt: skip

# As released, but for the sizes, the tower's name and what is not read.
MOBILEVLM_CONFIG: dict[str, Any] = {
    "architectures": ["MobileLlamaForCausalLM"], "model_type": "mobilevlm", "torch_dtype": "float32",
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 4, "hidden_act": "silu", "max_position_embeddings": 512, "rms_norm_eps": 1e-6,
    "rope_scaling": None, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    "n_head": 16, "n_query_groups": 16, "image_aspect_ratio": "pad", "mm_hidden_size": 16,
    "mm_projector_type": "ldpnetv2", "mm_use_im_start_end": False, "mm_use_im_patch_token": False,
    "mm_vision_select_feature": "patch", "mm_vision_select_layer": -2, "mm_vision_tower": "somewhere/tiny-tower",
}  # fmt: skip

RANKS = 256 + 4  # of the tiny qwen.tiktoken: every byte, and the merges below
MERGES = [b"th", b"is", b"the", b" the"]
IMAGE_START = RANKS + SPECIALS.index("<img>")

QWEN_CONFIG: dict[str, Any] = {
    "architectures": ["QWenLMHeadModel"], "model_type": "qwen", "torch_dtype": "float32", "bf16": True,
    "auto_map": {"AutoConfig": "configuration_qwen.QWenConfig"}, "vocab_size": RANKS + len(SPECIALS) + 4,
    "hidden_size": 256, "intermediate_size": 96, "kv_channels": 64, "num_attention_heads": 4, "num_hidden_layers": 6,
    "layer_norm_epsilon": 1e-6, "max_position_embeddings": 8192, "no_bias": True, "rotary_emb_base": 10000,
    "rotary_pct": 1.0, "scale_attn_weights": True, "seq_length": 2048, "tie_word_embeddings": False,
    "use_dynamic_ntk": True, "use_logn_attn": True,
    "visual": {
        "heads": 2, "image_size": 448, "image_start_id": IMAGE_START, "layers": 2, "mlp_ratio": 1.5, "output_dim": 256,
        "patch_size": 14, "width": 16,
    },
}  # fmt: skip

GENERATION = {"chat_format": "chatml", "eos_token_id": RANKS, "pad_token_id": RANKS, "do_sample": True, "top_p": 0.5}


def mobilevlm_weights() -> Weights:
    """The names of a released ``pytorch_model.bin``, stale rotary buffers included."""
    d, m, v, p = 32, 48, 16, 24
    tower = "model.vision_tower.vision_tower.vision_model."
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (300, d), "model.norm.weight": (d,), "lm_head.weight": (300, d),
        "model.mm_projector.mlp.mlp.0.weight": (d, v), "model.mm_projector.mlp.mlp.0.bias": (d,),
        "model.mm_projector.mlp.mlp.2.weight": (d, d), "model.mm_projector.mlp.mlp.2.bias": (d,),
        "model.mm_projector.peg.peg.0.weight": (d, 1, 3, 3), "model.mm_projector.peg.peg.0.bias": (d,),
        tower + "embeddings.class_embedding": (v,), tower + "embeddings.patch_embedding.weight": (v, 3, 14, 14),
        tower + "embeddings.position_embedding.weight": (577, v),
    }  # fmt: skip
    for norm in ("pre_layrnorm", "post_layernorm"):
        shapes |= {f"{tower}{norm}.weight": (v,), f"{tower}{norm}.bias": (v,)}
    for n in range(3):
        layer = f"{tower}encoder.layers.{n}."
        for name, rows, columns in (("fc1", p, v), ("fc2", v, p)):
            shapes |= {f"{layer}mlp.{name}.weight": (rows, columns), f"{layer}mlp.{name}.bias": (rows,)}
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= {f"{layer}self_attn.{name}.weight": (v, v), f"{layer}self_attn.{name}.bias": (v,)}
        for name in ("layer_norm1", "layer_norm2"):
            shapes |= {f"{layer}{name}.weight": (v,), f"{layer}{name}.bias": (v,)}
    for n in range(6):
        layer = f"model.layers.{n}."
        shapes |= {f"{layer}self_attn.{name}_proj.weight": (d, d) for name in "qkvo"}
        shapes |= {f"{layer}mlp.gate_proj.weight": (m, d), f"{layer}mlp.up_proj.weight": (m, d)}
        shapes |= {f"{layer}mlp.down_proj.weight": (d, m), f"{layer}self_attn.rotary_emb.inv_freq": (4,)}
        shapes |= {f"{layer}input_layernorm.weight": (d,), f"{layer}post_attention_layernorm.weight": (d,)}
    return _random(shapes)


def qwen_weights() -> Weights:
    """The names of the released shards of Qwen-VL-Chat."""
    d, m, v, p, vocabulary = 256, 48, 16, 24, QWEN_CONFIG["vocab_size"]
    pool, visual = "transformer.visual.attn_pool.", "transformer.visual."
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (vocabulary, d), "transformer.ln_f.weight": (d,), "lm_head.weight": (vocabulary, d),
        visual + "conv1.weight": (v, 3, 14, 14), visual + "positional_embedding": (256, v),
        visual + "proj": (d, d), pool + "query": (256, d), pool + "pos_embed": (256, d),
        pool + "kv_proj.weight": (d, v), pool + "attn.in_proj_weight": (3 * d, d), pool + "attn.in_proj_bias": (3 * d,),
        pool + "attn.out_proj.weight": (d, d), pool + "attn.out_proj.bias": (d,),
    }  # fmt: skip
    for norm, width in (("ln_pre", v), ("ln_post", d), ("attn_pool.ln_q", d), ("attn_pool.ln_kv", d)):
        shapes |= {f"{visual}{norm}.weight": (width,), f"{visual}{norm}.bias": (width,)}
    for n in range(2):
        layer = f"{visual}transformer.resblocks.{n}."
        linears = (("attn.in_proj", 3 * v, v), ("attn.out_proj", v, v), ("mlp.c_fc", p, v), ("mlp.c_proj", v, p))
        for name, rows, columns in linears:
            shapes |= {f"{layer}{name}.weight": (rows, columns), f"{layer}{name}.bias": (rows,)}
        for name in ("ln_1", "ln_2"):
            shapes |= {f"{layer}{name}.weight": (v,), f"{layer}{name}.bias": (v,)}
    for n in range(6):
        layer = f"transformer.h.{n}."
        shapes |= {f"{layer}attn.c_attn.weight": (3 * d, d), f"{layer}attn.c_attn.bias": (3 * d,)}
        shapes |= {f"{layer}attn.c_proj.weight": (d, d), f"{layer}mlp.w1.weight": (m, d)}
        shapes |= {f"{layer}mlp.w2.weight": (m, d), f"{layer}mlp.c_proj.weight": (d, m)}
        shapes |= {f"{layer}ln_1.weight": (d,), f"{layer}ln_2.weight": (d,)}
    return _random(shapes)


def write_mobilevlm(directory: Path, weights: Weights | None = None, **changes: Any) -> Path:
    """A MobileVLM V2 in one ``pytorch_model.bin``; `changes` to its configuration."""
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / "config.json", MOBILEVLM_CONFIG | changes)
    torch.save(weights or mobilevlm_weights(), directory / "pytorch_model.bin")
    llama_tokenizer().save(str(directory / "tokenizer.json"))
    return directory


def write_qwen(directory: Path, weights: Weights | None = None, shards: int = 3, **changes: Any) -> Path:
    """A Qwen-VL-Chat in ``.bin`` shards with an index, and its tokenizer file; `changes` to its configuration."""
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / "config.json", QWEN_CONFIG | changes)
    write_json(directory / "generation_config.json", GENERATION)
    weights = weights or qwen_weights()
    files = {name: f"pytorch_model-{place % shards + 1:05}-of-{shards:05}.bin" for place, name in enumerate(weights)}
    for file in set(files.values()):
        torch.save({name: weights[name] for name in files if files[name] == file}, directory / file)
    write_json(directory / "pytorch_model.bin.index.json", {"metadata": {}, "weight_map": files})
    write_ranks(directory / "qwen.tiktoken")
    return directory


def as_safetensors(directory: Path, weights: Weights) -> None:
    """The same weights in safetensors shards instead of what is there."""
    for file in directory.glob("pytorch_model*"):
        file.unlink()
    files = {name: f"model-{place % 2 + 1:05}-of-00002.safetensors" for place, name in enumerate(weights)}
    for file in set(files.values()):
        save_file({name: weights[name] for name in files if files[name] == file}, directory / file, {"format": "pt"})
    write_json(directory / "model.safetensors.index.json", {"metadata": {}, "weight_map": files})


def write_ranks(path: Path, end: str = "\n") -> None:
    """A ``qwen.tiktoken`` of all bytes and a few merges."""
    tokens = [bytes([byte]) for byte in range(256)] + MERGES
    lines = [f"{base64.b64encode(token).decode()} {rank}" for rank, token in enumerate(tokens)]
    path.write_bytes("".join(line + end for line in lines).encode())


def llama_tokenizer() -> Tokenizer:
    """Llama's first 259 ids - three special ones and the bytes - and a few pieces; 300 in all."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "A", "U", "S", ":", "?"]
    pieces += [chr(letter) for letter in range(ord("a"), ord("a") + 26)]
    merges = [("▁", "A"), ("▁", "U"), ("a", "t")]
    pieces += ["".join(merge) for merge in merges]
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    return Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))


def write_json(path: Path, content: Any) -> None:
    """One JSON file."""
    path.write_text(json.dumps(content))


def read_json(path: Path) -> Any:
    """What is in one JSON file."""
    return json.loads(path.read_text())


def _random(shapes: dict[str, tuple[int, ...]]) -> Weights:
    """Weights of the size they have in a trained model; attention is sharpened so that scores differ."""
    generator = torch.Generator().manual_seed(1)
    weights = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            fan_in = values[0].numel()
            sharp = 2.0 if "c_attn" in name or "q_proj" in name or "k_proj" in name else 1.0
            values *= sharp * fan_in**-0.5
        else:
            is_norm = name.endswith("weight")
            values = 1 + 0.2 * values if is_norm else 0.2 * values
        weights[name] = values
    return weights
