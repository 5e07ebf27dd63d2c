"""What the app offers: the methods with their settings, and the values that suit its model."""

from typing import Any, Literal, get_origin

from visionflow.core.depth import Depth
from visionflow.engines.hf.layer_kinds import depth_of
from visionflow.errors import VisionFlowError
from visionflow.evaluation.budget import LAYERS, RATIOS
from visionflow.loading.models import Loaded
from visionflow.methods import METHODS, Method, Spec
from visionflow.methods.fields import Setting, settings_of, written

Kind = Literal["layer", "ratio", "flag", "choice", "text"]
"""How a setting is moved: along the layers, from 0 to 1, on and off, among a few words, or typed."""


def offers(loaded: Loaded) -> dict[str, Any]:
    """The model and the methods, of JSON's types alone: what ``page/app.js`` makes its form of."""
    depth = depth_of(loaded.model.config)
    model = {
        "name": loaded.name,
        "class": type(loaded.model).__name__,
        "layers": depth,
        "device": str(loaded.model.device),
    }
    return {"model": model, "methods": [_offer(name, method, loaded, depth) for name, method in METHODS.items()]}


def _offer(name: str, method: type[Method], loaded: Loaded, depth: Depth) -> dict[str, Any]:
    values = _suiting(method, loaded, depth)
    settings = [
        {
            "name": each.name,
            "kind": _kind(each),
            "value": written(values[each.name]) if each.name in values else "",
            "choices": [written(choice) for choice in each.choices],
            "help": each.help,
            "main": each.name in (*LAYERS, *RATIOS),
        }
        for each in settings_of(method).values()
    ]
    about = (method.__doc__ or "").partition("\n")[0].replace("`", "")
    return {"name": name, "about": about, "settings": settings}


def _suiting(method: type[Method], loaded: Loaded, depth: Depth) -> dict[str, Any]:
    """The settings that suit the model; of a method some of which have to be given, the defaults of the others."""
    try:
        return vars(Spec(method).of(depth, loaded.name, loaded.model.config.model_type))
    except VisionFlowError:
        plain = (bool, int, float, str, tuple, type(None))
        return {name: each.default for name, each in settings_of(method).items() if isinstance(each.default, plain)}


def _kind(setting: Setting) -> Kind:
    if setting.kind is int and setting.name in LAYERS:
        return "layer"
    if setting.kind is float and setting.name in RATIOS:
        return "ratio"
    if setting.kind is bool:
        return "flag"
    return "choice" if setting.choices and get_origin(setting.kind) is not tuple else "text"
