"""The old address of `visionflow.core` and `visionflow.engines.hf`: ``visionflow.runtime.plan`` is what it was."""

import sys
from importlib import import_module

from visionflow.core import *  # noqa: F403

_CORE = ("attention", "contribution", "draw", "layer", "plan", "reductions", "tokens", "trace", "work")
_ENGINE = (
    "backend",
    "block_masks",
    "blocking",
    "caches",
    "families",
    "family",
    "family_table",
    "guards",
    "masks",
    "running",
    "scope",
    "skip",
)

for _name in (*(f"core.{name}" for name in _CORE), *(f"engines.hf.{name}" for name in _ENGINE)):
    _module = import_module(f"visionflow.{_name}")
    sys.modules[f"{__name__}.{_name.rsplit('.', 1)[1]}"] = _module
    globals().setdefault(_name.rsplit(".", 1)[1], _module)
