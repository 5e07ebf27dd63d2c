"""MobileVLM V2 (Chu et al., arXiv:2402.03766): a stock LLaVA with a projector that makes 144 tokens of 576 patches.

The text model is a Llama, the vision tower CLIP ViT-L/14 at 336 pixels, patches of its last but one layer.
"""

from math import isqrt
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import AutoConfig, LlamaTokenizer, LlavaConfig, LlavaProcessor, PreTrainedTokenizerFast
from transformers.core_model_loading import WeightRenaming
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.utils import is_protobuf_available, is_sentencepiece_available
from transformers.utils.hub import cached_file

from visionflow.errors import UnsupportedModelError, VisionFlowError
from visionflow.legacy.checkpoint import OriginalLlava, check_fields, hub_options

GRID = 12  # the projector makes 12 x 12 tokens of a picture
# Image tokens need an id, and all 32000 of the vocabulary are taken: the byte 0, which no text has, lends its own.
IMAGE_TOKEN, IMAGE_TOKEN_ID = "<0x00>", 3

# Original configurations name their tower and do not describe it.
TOWERS: dict[str, dict[str, Any]] = {
    "clip-vit-large-patch14-336": {
        "model_type": "clip_vision_model",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 336,
        "patch_size": 14,
        "projection_dim": 768,
    }
}
_TEXT_FIELDS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "rms_norm_eps",
    "rope_theta",
)

WEIGHTS = [
    WeightRenaming(r"^model\.layers\.", "model.language_model.layers."),
    WeightRenaming(r"^model\.embed_tokens\.", "model.language_model.embed_tokens."),
    WeightRenaming(r"^model\.norm\.", "model.language_model.norm."),
    WeightRenaming(r"^model\.mm_projector\.mlp\.mlp\.", "model.multi_modal_projector.mlp."),
    WeightRenaming(r"^model\.mm_projector\.peg\.peg\.0\.", "model.multi_modal_projector.peg."),
    WeightRenaming(r"^model\.vision_tower\.vision_tower\.", "model.vision_tower."),
]

# The conversation "v1" of the released code; its prompt for one turn ends "USER: <image>\nQuestion ASSISTANT:".
TEMPLATE = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. "
    "{% for message in messages %}"
    "{% set content = [{'type': 'text', 'text': message['content']}] if message['content'] is string "
    "else message['content'] %}"
    "{{ 'USER: ' if message['role'] == 'user' else 'ASSISTANT: ' }}"
    "{% for part in content %}{% if part['type'] == 'image' %}{{ '" + IMAGE_TOKEN + "\n' }}{% endif %}{% endfor %}"
    "{% for part in content %}{% if part['type'] == 'text' %}"
    "{% if '\\x00' in part['text'] %}{{ raise_exception('a text holds the byte 0: leave it out') }}{% endif %}"
    "{{ part['text'] }}{% endif %}{% endfor %}"
    "{{ ' ' if message['role'] == 'user' else '</s>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


class MobileVLMConfig(LlavaConfig):  # type: ignore[misc]
    """The configuration of a LLaVA, made from the original flat one where that is what is given."""

    model_type = "mobilevlm"
    text_type: ClassVar[str] = "llama"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """From an original ``config.json``, or from one that this class has saved.

        Raises:
            UnsupportedModelError: it is MobileVLM V1, or differs from the released MobileVLM V2 in what is computed.
        """
        saved = "text_config" in config_dict
        return super().from_dict(config_dict if saved else _translated(config_dict), **kwargs)


class LDPv2(nn.Module):
    """The "lightweight downsample projector" V2: two linear layers, 2 x 2 means, and a convolution that is added."""

    def __init__(self, config: MobileVLMConfig) -> None:
        super().__init__()
        width = config.text_config.hidden_size
        self.mlp = nn.Sequential(nn.Linear(config.vision_config.hidden_size, width), nn.GELU(), nn.Linear(width, width))
        self.pool = nn.AdaptiveAvgPool2d(GRID)
        self.peg = nn.Conv2d(width, width, kernel_size=3, padding=1, groups=width)

    def forward(self, patches: Tensor) -> Tensor:
        """From ``[pictures, patches, vision width]`` to ``[pictures, 144, text width]``."""
        side = isqrt(patches.shape[1])
        pooled: Tensor = self.pool(self.mlp(patches).transpose(1, 2).unflatten(2, (side, side)))
        placed: Tensor = pooled + self.peg(pooled)
        return placed.flatten(2).transpose(1, 2)


class MobileVLM(OriginalLlava):
    """MobileVLM V2; `config` is a `MobileVLMConfig`."""

    config_class = MobileVLMConfig

    def __init__(self, config: MobileVLMConfig) -> None:
        super().__init__(config)
        self.model.multi_modal_projector = LDPv2(config)
        self.post_init()


class MobileVLMProcessor:
    """Makes the stock processor of an original checkpoint: padded to a square, 144 image tokens, the "v1" prompt."""

    @classmethod
    def from_pretrained(cls, name: Any, **options: Any) -> Any:
        """A `transformers.LlavaProcessor` for the checkpoint `name`.

        Raises:
            VisionFlowError: the tokenizer cannot be read without further packages, or is not that of Llama.
        """
        where = hub_options(options)
        tokenizer = _tokenizer(name, where)
        vision = AutoConfig.from_pretrained(name, **where).vision_config
        return LlavaProcessor(
            image_processor=LlavaImageProcessorPil(
                do_pad=True,
                size={"shortest_edge": vision.image_size},
                crop_size={"height": vision.image_size, "width": vision.image_size},
            ),
            tokenizer=tokenizer,
            patch_size=vision.image_size // GRID,
            vision_feature_select_strategy="full",
            image_token=IMAGE_TOKEN,
            chat_template=TEMPLATE,
        )


def _translated(original: dict[str, Any]) -> dict[str, Any]:
    if original.get("mm_projector_type") != "ldpnetv2":
        raise UnsupportedModelError(
            f"mm_projector_type is {original.get('mm_projector_type')!r}, so this is not MobileVLM V2: "
            "use one of mtgv/MobileVLM_V2-1.7B, -3B, -7B"
        )
    supported = {
        "mm_vision_select_feature": "patch",
        "mm_use_im_start_end": False,
        "image_aspect_ratio": "pad",
        "attention_bias": False,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "quantization_config": None,
    }
    check_fields(original, supported, "use the released MobileVLM V2")
    place = str(original.get("mm_vision_tower"))  # a name on the Hub, or a path on the machine where it was trained
    tower = next((known for known in TOWERS if place.rstrip("/").endswith(known)), None)
    if tower is None:
        raise UnsupportedModelError(f"mm_vision_tower {place!r} is not known: supported is {', '.join(TOWERS)}")
    text = {name: original[name] for name in _TEXT_FIELDS if original.get(name) is not None}
    return {
        "text_config": {"model_type": "llama", **text, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
        "vision_config": dict(TOWERS[tower]),
        "vision_feature_layer": original.get("mm_vision_select_layer", -2),
        "vision_feature_select_strategy": "default",
        "image_token_index": IMAGE_TOKEN_ID,
        "image_seq_length": GRID**2,
        "dtype": original.get("torch_dtype"),
    }


def _tokenizer(name: Any, where: dict[str, Any]) -> Any:
    converted = cached_file(name, "tokenizer.json", _raise_exceptions_for_missing_entries=False, **where)
    if converted is None and not (is_sentencepiece_available() and is_protobuf_available()):
        raise VisionFlowError("its tokenizer.model is read with two more packages: pip install sentencepiece protobuf")
    # The released code tokenizes the text before and after a picture apart, each with its own leading space: what
    # `legacy` does after every special token. The plain class around it does not forget that when it is saved.
    llama = LlamaTokenizer.from_pretrained(name, legacy=True, add_bos_token=True, add_eos_token=False, **where)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=llama.backend_tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<unk>",
        padding_side="left",
        extra_special_tokens={"image_token": IMAGE_TOKEN},
    )
    if tokenizer.convert_tokens_to_ids(IMAGE_TOKEN) != IMAGE_TOKEN_ID:
        raise VisionFlowError(f"token {IMAGE_TOKEN_ID} of its tokenizer is not {IMAGE_TOKEN}: it is not that of Llama")
    return tokenizer
