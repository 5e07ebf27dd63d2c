"""Folders for results, checked before any work."""

import os
from pathlib import Path

from visionflow.errors import VisionFlowError


def check_out(out: Path) -> None:
    """Refuse an --out that is no folder and cannot become one.

    Raises:
        VisionFlowError: it is no valid path, it or a folder above it is a file, or nothing may be written there.
    """
    try:
        there = next(place for place in (out, *out.absolute().parents) if place.exists())
    except (OSError, ValueError) as error:  # a name that is too long, a null character
        raise VisionFlowError(f"--out {out} is no valid path: choose another name") from error
    if not there.is_dir():
        raise VisionFlowError(f"--out {out} cannot be a folder, {there} is a file: choose another --out")
    if not os.access(there, os.W_OK):
        raise VisionFlowError(f"cannot write in {there}: no permission; choose another --out")


def make_folder(out: Path | None) -> None:
    """Make the folder, and see before the work that a figure can be drawn.

    Raises:
        VisionFlowError: it cannot be a folder, or matplotlib is missing.
    """
    if out is None:
        return
    from visionflow.report.figures.plotting import check_matplotlib

    check_matplotlib()
    check_out(out)
    out.mkdir(parents=True, exist_ok=True)
