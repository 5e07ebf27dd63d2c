"""Layers that read what an earlier one made: its keys, or the places that its indexer picked."""

from collections.abc import Sequence
from typing import Any

from torch import nn


def closed_to_cuts(attentions: Sequence[nn.Module], text_config: Any) -> frozenset[int]:
    """The layers before which no token may go: what they read, they or later ones, was made of all that came before.

    Args:
        attentions: the attention modules, first to last.
        text_config: the config of the text model.
    """
    read = [*_keys_of_kind(attentions), *_named(text_config), *_picks(text_config)]
    return frozenset(layer for source, taker in read for layer in range(source + 1, taker + 1))


def _keys_of_kind(attentions: Sequence[Any]) -> list[tuple[int, int]]:
    """Gemma: late layers read the keys of the last of their kind that has its own."""
    own: dict[str, int] = {}
    read = []
    for layer, attention in enumerate(attentions):
        kind = getattr(attention, "layer_type", None)
        if kind is None:
            continue
        if attention.is_kv_shared_layer:
            read.append((own[kind], layer))
        else:
            own[kind] = layer
    return read


def _named(text_config: Any) -> list[tuple[int, int]]:
    """Mistral Large 4: the config names the layer whose keys are read."""
    sources = getattr(text_config, "kv_source_layers", None) or ()
    return [(source, layer) for layer, source in enumerate(sources) if source != layer]


def _picks(text_config: Any) -> list[tuple[int, int]]:
    """Indexers that are shared: a layer without one of its own reads at the places that the last one picked."""
    types = getattr(text_config, "indexer_types", None) or ()
    full = [layer for layer, kind in enumerate(types) if kind == "full"]
    return [
        (max(source for source in full if source < layer), layer)
        for layer, kind in enumerate(types)
        if kind == "shared"
    ]
