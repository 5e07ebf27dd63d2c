"""Measured points, kept in a file as they are made, so that an interrupted run goes on where it stopped."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visionflow.errors import VisionFlowError

_NAME = "points.jsonl"


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
            VisionFlowError: the folder holds points of other settings, or cannot be used.
        """
        self.entries: list[dict[str, Any]] = []
        self.folder = folder
        if folder is None:
            return
        try:
            lines = (folder / _NAME).read_text(encoding="utf-8").splitlines() if (folder / _NAME).exists() else []
            # A line that was cut off by the interruption is measured again.
            kept = [line for line in lines if _is_whole(line)]
            if kept and json.loads(kept[0]) != settings:
                raise VisionFlowError(f"{folder} holds points of other settings or machines: choose another --out")
            kept = kept or [json.dumps(settings)]
            (folder / _NAME).write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        except OSError as error:
            raise VisionFlowError(f"cannot use {folder / _NAME} ({error.strerror}): choose another --out") from error
        self.entries = [json.loads(line) for line in kept[1:]]

    def __contains__(self, point: Mapping[str, Any]) -> bool:
        """Whether the point was measured."""
        return any(point.items() <= entry.items() for entry in self.entries)

    def add(self, point: Mapping[str, Any], measured: Mapping[str, Any]) -> None:
        """Keep what was measured at `point`."""
        entry = {**point, **measured}
        self.entries.append(entry)
        if self.folder is not None:
            with (self.folder / _NAME).open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")


def _is_whole(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
