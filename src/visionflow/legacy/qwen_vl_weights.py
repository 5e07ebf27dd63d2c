"""From the weight names of Qwen-VL-Chat to those of `QwenVL`, and back where a model is saved."""

from typing import Any

import torch
from torch import Tensor
from transformers.core_model_loading import Chunk, ConversionOps, WeightConverter, WeightRenaming

_QKV = [".self_attn.q_proj", ".self_attn.k_proj", ".self_attn.v_proj"]


class SplitHeads(ConversionOps):  # type: ignore[misc]
    """Rows (head, [query, key, value], width of a head) to three tensors with rows (head, width of a head).

    The tower's projection is laid out so; cut in three like that of the text model, it would be wrong without a word.
    """

    def convert(
        self, input_dict: dict[str, Any], source_patterns: list[str], target_patterns: list[str], **others: Any
    ) -> dict[str, Any]:
        """The three parts, by target."""
        heads = others["config"].vision_config.num_attention_heads
        fused = _only(input_dict[source_patterns[0]])
        parts = fused.reshape(heads, 3, -1, *fused.shape[1:]).unbind(1)
        return {target: part.flatten(0, 1) for target, part in zip(target_patterns, parts, strict=True)}

    @property
    def reverse_op(self) -> "FuseHeads":
        """What undoes it."""
        return FuseHeads()


class FuseHeads(ConversionOps):  # type: ignore[misc]
    """The way back of `SplitHeads`."""

    def convert(
        self, input_dict: dict[str, Any], source_patterns: list[str], target_patterns: list[str], **others: Any
    ) -> dict[str, Any]:
        """The fused tensor, by target."""
        heads = others["config"].vision_config.num_attention_heads
        parts = [_only(input_dict[source]) for source in source_patterns]
        by_head = [part.reshape(heads, -1, *part.shape[1:]) for part in parts]
        return {target_patterns[0]: torch.stack(by_head, dim=1).flatten(0, 2)}

    @property
    def reverse_op(self) -> SplitHeads:
        """What undoes it."""
        return SplitHeads()


def _only(collected: Any) -> Tensor:
    tensor: Tensor = collected[0] if isinstance(collected, list) else collected
    return tensor


# Applied from first to last, each to what the one before has left; in a saved model from last to first, reversed.
WEIGHTS = [
    WeightRenaming(r"^transformer\.wte\.", "model.language_model.embed_tokens."),
    WeightRenaming(r"^transformer\.ln_f\.", "model.language_model.norm."),
    WeightRenaming(r"^transformer\.h\.", "model.language_model.layers."),
    WeightRenaming(r"(language_model\.layers\.\d+)\.ln_1\.", r"\1.input_layernorm."),
    WeightRenaming(r"(language_model\.layers\.\d+)\.ln_2\.", r"\1.post_attention_layernorm."),
    WeightRenaming(r"(language_model\.layers\.\d+)\.attn\.c_proj\.", r"\1.self_attn.o_proj."),
    WeightRenaming(r"(language_model\.layers\.\d+)\.mlp\.w2\.", r"\1.mlp.gate_proj."),
    WeightRenaming(r"(language_model\.layers\.\d+)\.mlp\.w1\.", r"\1.mlp.up_proj."),
    WeightRenaming(r"(language_model\.layers\.\d+)\.mlp\.c_proj\.", r"\1.mlp.down_proj."),
    WeightRenaming(r"^transformer\.visual\.conv1\.", "model.vision_tower.embeddings.patch_embedding."),
    WeightRenaming(r"^transformer\.visual\.positional_embedding", "model.vision_tower.embeddings.position_embedding"),
    WeightRenaming(r"^transformer\.visual\.ln_pre\.", "model.vision_tower.pre_layrnorm."),
    WeightRenaming(r"^transformer\.visual\.transformer\.resblocks\.", "model.vision_tower.encoder.layers."),
    WeightRenaming(r"(encoder\.layers\.\d+)\.ln_1\.", r"\1.layer_norm1."),
    WeightRenaming(r"(encoder\.layers\.\d+)\.ln_2\.", r"\1.layer_norm2."),
    WeightRenaming(r"(encoder\.layers\.\d+)\.attn\.out_proj\.", r"\1.self_attn.out_proj."),
    WeightRenaming(r"(encoder\.layers\.\d+)\.mlp\.c_fc\.", r"\1.mlp.fc1."),
    WeightRenaming(r"(encoder\.layers\.\d+)\.mlp\.c_proj\.", r"\1.mlp.fc2."),
    WeightRenaming(r"^transformer\.visual\.attn_pool\.", "model.multi_modal_projector."),
    WeightRenaming(r"^transformer\.visual\.ln_post\.", "model.multi_modal_projector.ln_post."),
    WeightRenaming(r"^transformer\.visual\.proj", "model.multi_modal_projector.proj"),
    WeightConverter(r"\.attn\.c_attn", [*_QKV], [Chunk(dim=0)]),
]
# Of the module `QwenVLTower` alone. The last dots make these patterns of their own: on the way back transformers looks
# converters up by pattern, and would take the text model's for both.
TOWER_WEIGHTS = [WeightConverter(r"\.attn\.in_proj\.", [name + "." for name in _QKV], [SplitHeads()])]
