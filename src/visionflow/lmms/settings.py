"""A method from its name and settings, as they stand in lmms-eval's ``--model_args``."""

from collections.abc import Mapping

from visionflow.errors import VisionFlowError
from visionflow.methods import Method, parse
from visionflow.methods.fields import settings_of as fields_of
from visionflow.methods.fields import written

DENSE = "dense"
"""The name of no method at all."""


def method_of(
    name: str, settings: Mapping[str, object], num_layers: int, model: str = "", architecture: str = ""
) -> Method | None:
    """What `visionflow.method` makes of `name` with `settings`, for a model as it is described there; None for dense.

    A comma ends a setting here: ``method=fastv,k=3``.

    Raises:
        VisionFlowError: there is no such method or setting, a value is out of range, or a layer beyond the depth.
    """
    if name != DENSE:
        return parse(name).having_typed(settings).of(num_layers, model, architecture)
    if settings:
        raise VisionFlowError(f"{', '.join(settings)} is no setting of {DENSE}, which has none: name a method")
    return None


def settings_of(method: Method | None) -> dict[str, object]:
    """The settings from which `method_of` makes this method again, in the form that ``--model_args`` takes."""
    names = [] if method is None else list(fields_of(type(method)))
    return {name: written(getattr(method, name)) for name in names}
