"""What each decoder layer does with tokens: they attend to each other, mix with those before, or go one by one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from visionflow.core.depth import Depth


@dataclass(frozen=True)
class LayerKind:
    """One decoder layer.

    Attributes:
        attends: it has attention, and keeps keys and values.
        mixes: it has a state that runs over the tokens (a convolution, linear attention, a state space); what was
            dropped before it never enters that state.
        picks: an indexer picks which keys its queries read, under the mask.
    """

    attends: bool = True
    mixes: bool = False
    picks: bool = False


_KINDS = {
    "conv": LayerKind(attends=False, mixes=True),
    "linear_attention": LayerKind(attends=False, mixes=True),
    "hybrid": LayerKind(attends=True, mixes=True),
    "hybrid_sliding": LayerKind(attends=True, mixes=True),
    "indexed_attention": LayerKind(picks=True),
    "mlp": LayerKind(attends=False),
    "moe": LayerKind(attends=False),
}
"""By what a config calls the type of a layer; all others have attention alone."""


def layer_kinds(text_config: Any) -> tuple[LayerKind, ...]:
    """What the decoder layers are that a transformers config of a text model describes, first to last."""
    depth = text_config.num_hidden_layers
    types = getattr(text_config, "layer_types", None) or [""] * depth
    return tuple(_KINDS.get(each, LayerKind()) for each in types[:depth])


def depth_of(config: Any) -> Depth:
    """How many decoder layers a transformers config describes, of a whole model or of its text, and which attend."""
    kinds = layer_kinds(config.get_text_config())
    return Depth(len(kinds), attending(kinds))


def attending(kinds: Sequence[LayerKind]) -> list[int]:
    """The layers with attention."""
    return [layer for layer, kind in enumerate(kinds) if kind.attends]
