"""Defaults moved to where they can look: a cut on attention needs a layer with attention to be decided by."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from visionflow.core.depth import attending_of
from visionflow.methods.base import Method


def snapped(method: Method, unsaid: Collection[str], num_layers: int) -> Method:
    """The method, its fields that nobody said moved so that each cut on attention is decided by a layer that has some.

    Each such cut goes to the nearest layer after the cuts before it; where there is none the method stays as it is.

    Args:
        method: as it is by default, or with some fields said.
        unsaid: fields that may change.
        num_layers: of the decoder, see `visionflow.core.depth.Depth`.
    """
    attending, before = attending_of(num_layers), -1
    for cut in method.cuts() if len(attending) < num_layers else ():
        place, read = cut.layer, next(iter(cut.read_layers), None)
        if read is not None and read not in attending:
            possible = [layer + cut.layer - read for layer in attending]
            later = [layer for layer in possible if before < layer < num_layers]
            place = min(later, key=lambda layer: abs(layer - cut.layer), default=cut.layer)
            method = _moved(method, unsaid, cut.layer, place)
        before = place
    return method


def _moved(method: Method, unsaid: Collection[str], layer: int, place: int) -> Method:
    """The method with a cut at `place` that was at `layer`; in a tuple of layers, one that is there already goes."""
    for name in unsaid:
        value: Any = getattr(method, name)
        if isinstance(value, tuple) and layer in value:
            moved = {place if each == layer else each for each in value}
            return replace(method, **{name: tuple(sorted(moved))})  # type: ignore[type-var]
        if type(value) is int and value == layer:
            return replace(method, **{name: place})  # type: ignore[type-var]
    return method
