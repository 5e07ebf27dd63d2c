"""Measured points, kept in a file as they are made, so that an interrupted run goes on where it stopped."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from visionflow.errors import VisionFlowError
from visionflow.journal import Journal

_NAME = "points.jsonl"
_ROW = {"name", "flops", "prefill_s"}  # what is read of what was measured


class Store:
    """Points and their measurements, in memory and, if there is a folder, in a file of one JSON object per line.

    Attributes:
        entries: all of them, each the point's sizes and what was measured there.
        folder: where they are kept; None for nowhere.
    """

    def __init__(self, settings: Mapping[str, Any], folder: Path | None = None) -> None:
        """Go on with what `folder` holds.

        Args:
            settings: all that a measurement depends on; the file's first line.

        Raises:
            VisionFlowError: the folder holds points of other settings, is being written by another process, is damaged,
                or cannot be used.
        """
        self.entries: list[dict[str, Any]] = []
        self.folder = folder
        self._journal: Journal | None = None
        if folder is None:
            return
        try:
            self._journal = Journal(folder / _NAME)
            lines = self._journal.read(_sound_lines())
        except OSError as error:
            raise VisionFlowError(f"cannot use {folder / _NAME} ({error.strerror}): choose another --out") from error
        if not lines:
            self._journal.append([settings])
        elif lines[0] != settings:
            raise VisionFlowError(f"{folder} holds points of other settings or machines: choose another --out")
        self.entries = lines[1:]

    def __contains__(self, point: Mapping[str, Any]) -> bool:
        """Whether the point was measured."""
        return any(point.items() <= entry.items() for entry in self.entries)

    def add(self, point: Mapping[str, Any], measured: Mapping[str, Any]) -> None:
        """Keep what was measured at `point`.

        Raises:
            VisionFlowError: it cannot be written.
        """
        entry = {**point, **measured}
        self.entries.append(entry)
        if self._journal is not None:
            self._journal.append([entry])


def _sound_lines() -> Callable[[dict[str, Any]], bool]:
    """Whether a line is sound, asked of each in turn: first the settings, then points, each once."""
    sizes: list[dict[str, Any]] = []

    def is_sound(line: dict[str, Any]) -> bool:
        size = {name: value for name, value in line.items() if name != "rows"}
        sound = not sizes or (_are_rows(line.get("rows")) and size not in sizes)
        sizes.append(size)
        return sound

    return is_sound


def _are_rows(rows: object) -> bool:
    return isinstance(rows, list) and all(isinstance(row, dict) and row.keys() >= _ROW for row in rows)
