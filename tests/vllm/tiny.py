"""Tiny models of the zoo that vLLM's CPU kernels take, with their processors, as checkpoints on disk."""

from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedConfig

from tests.zoo import ZOO
from tests.zoo.kit import save
from tests.zoo.kits import KITS
from visionflow.serving.export import rename_towers, turn_experts

HEADS, KV_HEADS, HEAD_DIM = 4, 2, 32
WIDTH = HEADS * HEAD_DIM


def save_for_vllm(name: str, folder: Path) -> Path:
    """The zoo's model of that name with heads of 32, and its processor."""
    entry, kit = ZOO[name], KITS[name]
    if kit.video and "patch_size" in kit.video:  # without a size videos are large
        kit = replace(kit, video=kit.video | {"size": {"shortest_edge": 64, "longest_edge": 4096}})

    def config() -> PreTrainedConfig:
        made = entry.config()
        widen(made)
        return made

    save(replace(entry, config=config), kit, folder)
    rename_towers(folder)
    turn_experts(folder)
    return folder


def widen(config: PreTrainedConfig) -> None:
    """Give the text model heads of a size that the kernels have, and the tower's end the text model's width."""
    text, vision = config.get_text_config(), getattr(config, "vision_config", None)
    text.hidden_size, text.num_attention_heads, text.num_key_value_heads = WIDTH, HEADS, KV_HEADS
    text.head_dim, text.intermediate_size = HEAD_DIM, 96
    text.architectures = None
    if hasattr(text, "num_experts"):
        text.norm_topk_prob = True  # as released configs say, and transformers does without being told
    if config.model_type == "glm4v_moe":
        text.use_qk_norm = False  # vLLM asks
    rope = getattr(text, "rope_parameters", None)
    if isinstance(rope, dict) and "mrope_section" in rope:
        rope |= {"mrope_section": [4, 6, 6], "mrope_interleaved": config.model_type.startswith("qwen3")}
    if config.model_type.startswith("glm4v"):  # half of each head turns, in pairs of neighbours
        rope |= {"mrope_section": [2, 3, 3], "partial_rotary_factor": 0.5}
    if hasattr(vision, "out_hidden_size"):
        vision.out_hidden_size = WIDTH
    if config.model_type == "qwen2_vl":
        vision.hidden_size = WIDTH
