"""Two systems of the papers that transformers does not have: MobileVLM V2 and Qwen-VL-Chat.

Importing this package lets transformers' Auto classes load their original checkpoints, and `visionflow.prune` take
them; nothing else of visionflow imports it until a checkpoint names one of their types (`visionflow.loading.models`)::

    import visionflow.legacy

    model = AutoModelForImageTextToText.from_pretrained("MobileVLM_V2-1.7B")  # a directory with the released files
    processor = AutoProcessor.from_pretrained("MobileVLM_V2-1.7B")

Both are checked on random weights against plain torch; neither was ever run on the released ones.
"""

from transformers.conversion_mapping import register_checkpoint_conversion_mapping

from visionflow.legacy import mobilevlm, qwen_vl_weights
from visionflow.legacy.checkpoint import register
from visionflow.legacy.mobilevlm import MobileVLM, MobileVLMConfig, MobileVLMProcessor
from visionflow.legacy.qwen_vl import QwenVL, QwenVLConfig, QwenVLTower
from visionflow.legacy.qwen_vl_prompt import QwenVLProcessor

__all__ = ["MobileVLM", "MobileVLMConfig", "MobileVLMProcessor", "QwenVL", "QwenVLConfig", "QwenVLProcessor"]

register(MobileVLMConfig, MobileVLM, MobileVLMProcessor, mobilevlm.WEIGHTS)
register(QwenVLConfig, QwenVL, QwenVLProcessor, qwen_vl_weights.WEIGHTS)
register_checkpoint_conversion_mapping(QwenVLTower.__name__, qwen_vl_weights.TOWER_WEIGHTS)
