"""A decoder's shape by name: a preset, a config file, a model directory or a model on the Hub. No weights are read."""

import json
from pathlib import Path
from typing import Any

from visionflow.cost.shape import DecoderShape
from visionflow.errors import VisionFlowError
from visionflow.loading.hub import place_of

# Source: text_config and vision_config of llava-hf/llava-1.5-7b-hf and -13b-hf; the vocabulary is Vicuna's 32000
# padded to 32064, a picture is (336 / 14)^2 patches, CLIP-L has heads of 64. The same shapes, by the same
# names, are benched (visionflow.bench.shapes), and a test holds them together.
PRESETS = {
    "llava-1b": DecoderShape(22, 2048, 5632, 32, 4, 64, 32064, image_tokens=576, tower_head_dim=64),
    "llava-1.5-7b": DecoderShape(32, 4096, 11008, 32, 32, 128, 32064, image_tokens=576, tower_head_dim=64),
    "llava-1.5-13b": DecoderShape(40, 5120, 13824, 40, 40, 128, 32064, image_tokens=576, tower_head_dim=64),
    "qwen2.5-vl-7b": DecoderShape(28, 3584, 18944, 28, 4, 128, 152064, tower_head_dim=80),
}


def load_shape(model: str) -> DecoderShape:
    """The shape of `model`: a preset's name, "embedded", a ``config.json``, a directory with one, or ``owner/name``.

    Raises:
        VisionFlowError: it is none of these, or its configuration cannot be read or costed.
    """
    if model in PRESETS:
        return PRESETS[model]
    if model == "embedded":
        from visionflow.loading.models import embedded_folder

        return DecoderShape.from_config(_config_of_file(embedded_folder() / "config.json"))
    path = Path(model).expanduser()
    if path.is_dir():
        path = path / "config.json"
        if not path.is_file():
            raise VisionFlowError(f"there is no config.json in the directory {path.parent}")
    if path.is_file():
        return DecoderShape.from_config(_config_of_file(path))
    if _is_hub_id(model):
        return DecoderShape.from_config(_config_of_hub(model))
    raise VisionFlowError(
        f"no such model: {model!r} is not a preset ({', '.join(PRESETS)}), embedded, a file, a directory or an "
        "owner/name"
    )


def _is_hub_id(model: str) -> bool:
    owner, slash, name = model.partition("/")
    is_path = owner.startswith((".", "~")) or name.endswith(".json")
    return bool(owner and slash and name) and "/" not in name and not is_path


def _config_of_file(path: Path) -> Any:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise VisionFlowError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise VisionFlowError(f"{path} is not a JSON file") from error
    if not isinstance(content, dict) or "model_type" not in content:
        raise VisionFlowError(f"{path} is not a model configuration: it names no model_type")

    from transformers import CONFIG_MAPPING, AutoConfig

    if content["model_type"] not in CONFIG_MAPPING:
        raise VisionFlowError(f"{path} has model_type {content['model_type']!r}, which this transformers does not know")
    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=False)
    except Exception as error:  # each configuration class validates, and fails, in its own way
        reason = " ".join(str(error).split())
        raise VisionFlowError(f"{path} is not a valid {content['model_type']} configuration: {reason}") from error


def _config_of_hub(model: str) -> Any:
    from transformers import AutoConfig

    place = place_of(model)
    try:
        return AutoConfig.from_pretrained(place, trust_remote_code=False)
    except Exception as error:  # no such repository, a gated one, an unknown architecture, ...
        reason = str(error).strip().partition("\n")[0]
        raise VisionFlowError(
            f"there is no file or directory {model!r}, and its configuration did not come from the Hub: {reason}"
        ) from error
