"""A model and its processor: the embedded one, a directory, or one on the Hub; refused rather than guessed at."""

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import requires_backends

from visionflow.engines.hf.families import family_of_config
from visionflow.errors import UnsupportedModelError, VisionFlowError, line_of
from visionflow.loading.hub import place_of

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SHORT_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
EMBEDDED = "embedded"  # the name of the model of this package; a directory of that name is ./embedded
ATTENTIONS = ("sdpa", "eager")
OPTIONAL_PACKAGES = ("torchvision", "num2words", "timm")  # that some classes of transformers need
NO_PIL = ("FuyuProcessor",)  # the PIL form of its image processor cannot cut torch's pictures into patches
NO_QUESTIONS = {
    "shieldgemma2": "its processor asks about policies of its own, and takes no question",
    "instructblipvideo": "its processor takes videos of four frames, and no picture",
}
LEGACY_TYPES = ("mobilevlm", "qwen")  # of original checkpoints that visionflow.legacy makes known to transformers


class Loaded(NamedTuple):
    """A model in eval mode with its processor, and what to call it."""

    model: PreTrainedModel
    processor: Any
    name: str


def load_model(
    name: str | None = None, dtype: str | None = None, device: str | None = None, attention: str = "sdpa"
) -> Loaded:
    """The model called `name`; a local directory is loaded without any network.

    Args:
        name: a directory or ``owner/name`` on the Hub; "embedded" or None for the model of this package.
        dtype: float32, bfloat16 or float16; by default the checkpoint's own, and float32 for the embedded model.
        device: as torch names it; by default the GPU where there is one.
        attention: sdpa or eager.

    Raises:
        VisionFlowError: a value is unknown, or the checkpoint is not there, not whole, or not supported.
    """
    chosen_dtype, chosen_device = check_dtype(dtype), check_device(device)
    if attention not in ATTENTIONS:
        raise VisionFlowError(f"unknown attention {attention!r}: choose one of {', '.join(ATTENTIONS)}")
    if name in (None, EMBEDDED):
        return load_model(str(embedded_folder()), dtype or "float32", device, attention)._replace(name=EMBEDDED)
    place, config = _checked(name)
    processor = _processor(place)  # before the weights: what it lacks is said before gigabytes are read
    model = _model(place, config, chosen_dtype or "auto", attention)
    return Loaded(model.to(chosen_device).eval(), processor, name)


def load_config(name: str) -> Any:
    """The configuration of the model called `name`, as `load_model` takes it; no weights are read.

    Raises:
        VisionFlowError: it is not there, or not supported.
    """
    return _checked(str(embedded_folder()) if name == EMBEDDED else name)[1]


def _checked(name: str) -> tuple[str, Any]:
    """Where the model is, and its configuration."""
    _check_place(name)
    place = place_of(name)
    return place, _supported_config(place)


def embedded_folder() -> Path:
    """Where the model of this package is.

    Raises:
        VisionFlowError: it is not there.
    """
    from visionflow.checkpoint.load import EMBEDDED as FOLDER

    if not FOLDER.is_dir():
        raise VisionFlowError("this installation is without the embedded model: install it again, or give --model")
    return FOLDER


def check_dtype(dtype: str | None) -> torch.dtype | None:
    """The torch dtype called `dtype`."""
    if dtype is None:
        return None
    name = SHORT_DTYPES.get(dtype, dtype)
    if name not in DTYPES:
        raise VisionFlowError(f"unknown dtype {dtype!r}: choose one of {', '.join(DTYPES)}")
    return DTYPES[name]


def check_device(device: str | None) -> torch.device:
    """The torch device called `device`, if this machine has it."""
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise VisionFlowError(f"unknown device {device!r}: choose cpu, cuda, cuda:1, mps, ...") from error
    try:
        torch.empty(0, device=chosen)
    except Exception as error:  # a missing driver, a torch without CUDA, a back end that is not built in, ...
        raise VisionFlowError(
            f"device {device!r} is not available here ({_line(error)}): leave --device out"
        ) from error
    if chosen.type == "meta":
        raise VisionFlowError("device 'meta' holds no numbers, so it cannot answer: choose cpu or cuda")
    return chosen


def _supported_config(name: str) -> Any:
    """The configuration, checked before gigabytes of weights are read or fetched."""
    try:
        _make_known(PreTrainedConfig.get_config_dict(name)[0].get("model_type"))
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        family_of_config(config)
        if reason := NO_QUESTIONS.get(config.model_type):
            raise UnsupportedModelError(f"{reason}: load it with transformers, and call visionflow.prune on it")
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"cannot use {name}: {error}") from None
    except Exception as error:  # no network, no such repository, not JSON, an invalid value, ...
        _check_packages(error, f"the model {name}")
        where = (
            "its config.json is not valid"
            if Path(name).is_dir()
            else "there is no such directory, and nothing came from the Hub"
        )
        raise VisionFlowError(f"cannot load the model {name}: {where}: {_line(error)}") from error
    return config


def _make_known(model_type: object) -> None:
    if model_type in LEGACY_TYPES:
        import_module("visionflow.legacy")


def _check_place(name: str) -> None:
    path = Path(name)
    if path.is_file():
        raise VisionFlowError(f"{name} is a file: give the directory it is in")
    if not path.is_dir():
        if name.count("/") != 1 or name.startswith((".", "/", "~")) or name.endswith("/"):
            raise VisionFlowError(f"no such model: {name!r} is neither a directory nor an owner/name on the Hub")
        return
    config = path / "config.json"
    if not config.is_file():
        raise VisionFlowError(f"there is no config.json in the directory {name}: it is not a saved model")
    try:
        model_type = json.loads(config.read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise VisionFlowError(f"{config} cannot be read as a JSON object: save the model again") from error
    _make_known(model_type)
    if model_type not in CONFIG_MAPPING:
        raise UnsupportedModelError(f"{config} names model type {model_type!r}, which this transformers does not know")


def _model(name: str, config: Any, dtype: torch.dtype | str, attention: str) -> PreTrainedModel:
    try:
        model, report = AutoModelForImageTextToText.from_pretrained(
            name,
            config=config,
            dtype=dtype,
            # SDPA is what transformers takes by itself, but for classes and towers that have no such form.
            attn_implementation=None if attention == "sdpa" else attention,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            trust_remote_code=False,
        )
    except VisionFlowError:
        raise
    except Exception as error:  # no weights, cut-off weights, weights of other shapes, an interrupted download, ...
        _check_packages(error, f"the model {name}")
        raise VisionFlowError(f"cannot load the weights of {name} ({_line(error)}): get them again") from error
    # transformers would go on with random numbers in their place.
    missing = sorted(report["missing_keys"])
    if missing:
        raise VisionFlowError(
            f"the checkpoint {name} is not whole: weights missing: {len(missing)}, for example {missing[0]}"
        )
    misfits = sorted(key for key, *_ in report["mismatched_keys"])
    if misfits:
        raise VisionFlowError(
            f"the weights of {name} do not fit its config.json: {len(misfits)} of another shape, "
            f"for example {misfits[0]}"
        )
    return model


def _processor(name: str) -> Any:
    try:
        processor = AutoProcessor.from_pretrained(name, trust_remote_code=False)
        if type(processor).__name__ in NO_PIL:
            requires_backends(processor, "torchvision")
        elif hasattr(processor, "image_processor") and not _is_pil(processor.image_processor):
            # In its PIL form, where it has one: pixels are the same with torchvision and without it. AutoProcessor
            # would ask the video processor, which has no such form, for it too.
            processor.image_processor = AutoImageProcessor.from_pretrained(name, backend="pil", trust_remote_code=False)
    except VisionFlowError as error:
        raise type(error)(f"cannot load the processor of {name}: {error}") from None
    except Exception as error:  # no processor files, no tokenizer, a broken template, ...
        _check_known(error, name)
        _check_packages(error, f"the processor of {name}")
        raise VisionFlowError(
            f"cannot load the processor of {name} ({_line(error)}): save it there too, with its tokenizer"
        ) from error
    if not hasattr(processor, "image_processor"):
        raise VisionFlowError(f"{name} has a tokenizer but no image processor: save its processor there too")
    return processor


def _is_pil(image_processor: Any) -> bool:
    """Whether it is in its PIL form already, as those of original checkpoints are, which no file describes."""
    return type(image_processor).__name__.endswith("Pil")


def _check_known(error: Exception, name: str) -> None:
    """Raise what to do where `error` is that a processor is not one of this transformers."""
    said = str(error)
    if "custom code" in said:
        raise UnsupportedModelError(
            f"the processor of {name} is code of the checkpoint's own, which is not run here: use a checkpoint in "
            "transformers' own format"
        ) from error
    if said.startswith("Unrecognized") and "processor" in said:
        raise UnsupportedModelError(
            f"transformers {transformers.__version__} does not know the image processor of {name}: install the version "
            "that it was saved with"
        ) from error


def _check_packages(error: Exception, what: str) -> None:
    """Raise what is to be installed where `error` is that transformers misses one of the packages it can do without."""
    for package in OPTIONAL_PACKAGES:
        if package in str(error).lower() and find_spec(package) is None:
            raise VisionFlowError(f"{what} needs {package}, which is not installed: pip install {package}") from error


def _line(error: Exception) -> str:
    """The first sentence of a library's error."""
    return line_of(error).partition(". ")[0].strip().rstrip(":.").removeprefix("Error ")
