"""Measured points, kept as they are made, so that an interrupted run goes on where it stopped."""

from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from visionflow.journal import Line
from visionflow.store import Store

_SIZES = ("image_tokens", "batch", "layers")
_READ = {"name", "flops", "prefill_s"}  # of what was measured of each method


class Points(Store):
    """The measurements at each point, ``{image_tokens, batch, layers, rows}``, by its three sizes."""

    def __init__(self, settings: Mapping[str, Any], folder: Path | None = None) -> None:
        """As `Store`; `settings` are all that a measurement depends on."""
        super().__init__(itemgetter(*_SIZES), _is_sound, folder, settings, "points.jsonl")


def _is_sound(line: Line) -> bool:
    rows = line.get("rows")
    return (
        all(isinstance(line.get(size), int) for size in _SIZES)
        and isinstance(rows, list)
        and all(isinstance(row, dict) and row.keys() >= _READ for row in rows)
    )
