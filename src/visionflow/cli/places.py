"""Where a command puts the one file it writes: found free, or refused before any work."""

import os
from itertools import count
from pathlib import Path

from visionflow.errors import VisionFlowError


def free_name(stem: str, suffix: str) -> Path:
    """The first of ``STEM.png``, ``STEM-2.png``, ... that is not there: nobody's file is replaced unasked."""
    names = (Path(f"{stem}{f'-{number}' if number > 1 else ''}{suffix}") for number in count(1))
    return next(name for name in names if not os.path.lexists(name))


def check_place(out: Path, what: str) -> None:
    """Refuse a place of --out where `what` (the overlay, the page) cannot go.

    Raises:
        VisionFlowError: it is a directory, in none, no valid path, or may not be written.
    """
    try:
        is_directory, has_parent = out.is_dir(), out.parent.is_dir()
        there = out if out.exists() else out.parent
    except (OSError, ValueError) as error:  # a name that is too long, a null character
        raise VisionFlowError(f"--out {out} is no valid path: choose another name") from error
    if is_directory:
        raise VisionFlowError(f"--out {out} is a directory: add a file name")
    if not has_parent:
        raise VisionFlowError(f"there is no directory {out.parent} for {what}: make it, or choose another --out")
    if not os.access(there, os.W_OK):
        raise VisionFlowError(f"cannot write {out}: no permission; choose another --out")
