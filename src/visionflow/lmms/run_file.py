"""``run.json``: what decides the figures in a folder, so that nobody goes on there with something else."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visionflow.errors import VisionFlowError

RUN = "run.json"


def claim(folder: Path, run: Mapping[str, Any]) -> None:
    """Make `folder` that of `run`, or see that it is; several processes may do so at once.

    Raises:
        VisionFlowError: it belongs to another run, or its ``run.json`` is damaged.
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, draft = folder / RUN, folder / f"{RUN}.{os.getpid()}"
    draft.write_text(json.dumps(run, indent=2), encoding="utf-8")
    try:
        os.link(draft, file)  # whole or not at all, and only where there is none
        return
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    try:
        there = dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise VisionFlowError(f"{file} is damaged: put it back from a copy, or choose another folder") from error
    for name, value in run.items():
        if there.get(name) != value:
            raise VisionFlowError(
                f"{folder} belongs to another run, whose {name} is {there.get(name)}, not {value}: choose another"
            )
