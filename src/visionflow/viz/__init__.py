"""The old address of `visionflow.report.figures`: ``visionflow.viz.plotting`` is what it was."""

import sys
from importlib import import_module

from visionflow.report.figures import *  # noqa: F403

_NAMES = {name: name for name in ("framing", "geometry", "kept", "overlay", "patches", "plotting")}
_NAMES |= {f"{name}_figures": name for name in ("bench", "flow", "lens")}

for _old, _new in _NAMES.items():
    _module = import_module(f"visionflow.report.figures.{_new}")
    sys.modules[f"{__name__}.{_old}"] = _module
    globals().setdefault(_old, _module)
