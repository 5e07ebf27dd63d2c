"""The numbers of a decoder that its cost depends on, and where they come from."""

from dataclasses import dataclass, fields
from typing import Any

from visionflow.core.depth import Depth
from visionflow.cost.layers import LayerCost
from visionflow.cost.text_models import UNEVEN, around_layers
from visionflow.errors import UnsupportedModelError, VisionFlowError

# Text models with one gated feed-forward network per layer: up, gate and down, three d x m products; those with others
# have their layers told in text_models.py. For each of both the tests compare the cost model with what torch counts on
# the real module. Nothing else is costed: experts, shared keys or other networks would give a wrong figure unsaid.
GATED_DENSE = frozenset(
    (
        "llama",
        "mistral",
        "qwen2",
        "qwen3",
        "qwen2_vl_text",
        "qwen2_5_vl_text",
        "qwen3_vl_text",
        "gemma",
        "gemma2",
        "phi3",
        "granite",
        "olmo2",
        "smollm3",
        "hyperclovax",
        "cohere2",
        "cohere_compass_text",
        "molmo2_text",
        "granite_docling_text",
        "emu3_text_model",
        "gemma3_text",
        "qwen2_5_omni_text",
        "glm4v_text",
        "glm_ocr_text",
        "paddleocr_vl_text",
        "hunyuan_vl_text",
        "exaone4",
        "chameleon",
        "granite4_vision_text",
    )
)

# Vision towers that put a class token before the patches, or do not.
_CLASS_TOKENS = {"clip_vision_model": 1, "siglip_vision_model": 0}


@dataclass(frozen=True)
class DecoderShape:
    """One decoder, as far as its cost goes.

    Attributes:
        num_layers: decoder layers.
        hidden_size: d, the width of the residual stream.
        intermediate_size: m, the width of the gated feed-forward network.
        num_heads: query heads.
        num_kv_heads: key and value heads; fewer than `num_heads` when they are shared (grouped-query attention).
        head_dim: width of one head; heads x head_dim need not be d.
        vocab_size: rows of the output head.
        image_tokens: tokens that one picture becomes, where that is a fixed number.
        tower_head_dim: width of one head of the vision tower, where there is one.
        layers: what each layer costs where they are not all alike; None where all are attention and a gated network of
            the sizes above.
        before: FLOPs of each token of the prompt before the first layer, where a text model projects it there.
        after: FLOPs of each token that is left after the last layer, the output head left out.
    """

    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    image_tokens: int | None = None
    tower_head_dim: int | None = None
    layers: tuple[LayerCost, ...] | None = None
    before: int = 0
    after: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("layers", "before", "after") or (
                value is None and field.name in ("image_tokens", "tower_head_dim")
            ):
                continue
            if not isinstance(value, int) or value < 1:
                raise VisionFlowError(f"{field.name} of a decoder must be a whole number, at least 1, not {value!r}")

    @property
    def depth(self) -> Depth:
        """The number of layers, and which of them attend."""
        layers = range(self.num_layers)
        return Depth(self.num_layers, layers if self.layers is None else [n for n in layers if self.layers[n].per_pair])

    @classmethod
    def from_config(cls, config: Any) -> "DecoderShape":
        """The shape of the text decoder that a transformers `config` describes, alone or inside a multimodal model.

        Raises:
            UnsupportedModelError: it has no decoder layers, or of a text model whose cost nobody compared with torch's.
        """
        try:
            text = config.get_text_config()
        except ValueError as error:  # several text configs, as in encoder-decoder models
            raise UnsupportedModelError(f"model type {config.model_type!r} has no single text decoder") from error
        names = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")
        described = {name: getattr(text, name, None) for name in names} | {"intermediate_size": _inner_of(text)}
        missing = [name for name, value in described.items() if value is None]
        if missing:
            raise UnsupportedModelError(
                f"model type {config.model_type!r} does not describe decoder layers: it has no {', '.join(missing)}"
            )
        if text.model_type not in GATED_DENSE | UNEVEN.keys():
            raise UnsupportedModelError(
                f"the cost of text model type {text.model_type!r} is not modelled, only that of dense gated decoders "
                f"and of some whose layers differ: {', '.join(sorted(GATED_DENSE | UNEVEN.keys()))}"
            )
        heads = text.num_attention_heads
        before, after = around_layers(text)
        return cls(
            num_layers=text.num_hidden_layers,
            hidden_size=text.hidden_size,
            intermediate_size=_inner_of(text),
            num_heads=heads,
            num_kv_heads=getattr(text, "num_key_value_heads", None) or heads,
            head_dim=_head_dim_of(text),
            vocab_size=text.vocab_size,
            image_tokens=image_tokens_of(config),
            tower_head_dim=_tower_head_dim_of(config),
            layers=tuple(UNEVEN[text.model_type](text)) if text.model_type in UNEVEN else None,
            before=before,
            after=after,
        )


def _inner_of(text: Any) -> Any:
    """The width of the feed-forward networks, the largest where they differ; None where the config tells none."""
    inner = getattr(text, "intermediate_size", None) or getattr(text, "ffn_dim", None)  # OPT's is the second
    return max(inner) if isinstance(inner, list) else inner


def _head_dim_of(text: Any) -> int:
    """The width of a query and a key of one head; compressed ones have a part with rotary positions and one without."""
    plain = getattr(text, "qk_nope_head_dim", None)
    if plain is not None:
        return int(plain + text.qk_rope_head_dim)
    return int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)


def image_tokens_of(config: Any) -> int | None:
    """Tokens per picture of a LLaVA: the patches of its square input, with or without the tower's first token.

    None for models whose count depends on the picture.
    """
    if config.model_type != "llava" or config.vision_config.model_type not in _CLASS_TOKENS:
        return None
    vision = config.vision_config
    tower_tokens = (vision.image_size // vision.patch_size) ** 2 + _CLASS_TOKENS[vision.model_type]
    # "default" leaves out the first of the tower's tokens, whatever it is; "full" takes all.
    return int(tower_tokens - (config.vision_feature_select_strategy == "default"))


def _tower_head_dim_of(config: Any) -> int | None:
    """The width of one head of the vision tower; None where the config does not say."""
    tower = getattr(config, "vision_config", None)
    heads = getattr(tower, "num_attention_heads", None) or getattr(tower, "num_heads", None)
    width = getattr(tower, "embed_dim", None) or getattr(tower, "hidden_size", None)  # Qwen2-VL's is the first
    return width // heads if isinstance(width, int) and isinstance(heads, int) else None
