"""The model classes of vLLM that can be served pruned: each was compared with transformers token by token."""

from dataclasses import dataclass

PREFIX = "Visionflow"
"""Before the name of a class of vLLM: the same class, pruned."""


@dataclass(frozen=True)
class Architecture:
    """One class of vLLM.

    Attributes:
        module: where it is, under ``vllm.model_executor.models``.
        name: what it is called there.
    """

    module: str
    name: str


ARCHITECTURES: dict[str, Architecture] = {
    "LlavaForConditionalGeneration": Architecture("llava", "LlavaForConditionalGeneration"),
    "LlavaNextForConditionalGeneration": Architecture("llava_next", "LlavaNextForConditionalGeneration"),
    "LlavaOnevisionForConditionalGeneration": Architecture("llava_onevision", "LlavaOnevisionForConditionalGeneration"),
    "InternVLForConditionalGeneration": Architecture("interns1", "InternS1ForConditionalGeneration"),
    "Mistral3ForConditionalGeneration": Architecture("mistral3", "Mistral3ForConditionalGeneration"),
    "Idefics3ForConditionalGeneration": Architecture("idefics3", "Idefics3ForConditionalGeneration"),
    "Qwen2VLForConditionalGeneration": Architecture("qwen2_vl", "Qwen2VLForConditionalGeneration"),
    "Qwen2_5_VLForConditionalGeneration": Architecture("qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration"),
    "Qwen3VLForConditionalGeneration": Architecture("qwen3_vl", "Qwen3VLForConditionalGeneration"),
    "Qwen3VLMoeForConditionalGeneration": Architecture("qwen3_vl_moe", "Qwen3VLMoeForConditionalGeneration"),
    "Glm4vForConditionalGeneration": Architecture("glm4_1v", "Glm4vForConditionalGeneration"),
    "Glm4vMoeForConditionalGeneration": Architecture("glm4_1v", "Glm4vMoeForConditionalGeneration"),
    "SmolVLMForConditionalGeneration": Architecture("smolvlm", "SmolVLMForConditionalGeneration"),
}
"""By the name that checkpoints have in ``config.json``."""
