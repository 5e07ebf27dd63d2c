"""visionflow in lmms-eval, the harness the field uses: a model plug-in, tasks, the papers' tables by one command."""

from pathlib import Path
from typing import Any

TASKS = Path(__file__).parent / "tasks"
"""Our tasks: the folder for lmms-eval's ``--include_path``."""


def manifest() -> Any:
    """What lmms-eval finds under the entry-point group ``lmms_eval.models``: the model ``visionflow``."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(
        "visionflow",
        chat_class_path="visionflow.lmms.model.VisionFlowChat",
        simple_class_path="visionflow.lmms.model.VisionFlowSimple",
    )
