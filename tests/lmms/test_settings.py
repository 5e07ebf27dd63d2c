"""Methods from lmms-eval's model arguments, and back."""

from dataclasses import fields

import pytest

from visionflow.errors import VisionFlowError
from visionflow.lmms.settings import method_of, settings_of
from visionflow.methods import METHODS, FastV, HiMAP, VisiPruner


def test_settings_take_the_place_of_defaults() -> None:
    assert method_of("himap", {"k2": 5, "deep_criterion": "received"}, 8) == HiMAP(2, 0.5, 5, 0.75, "received")
    assert method_of("fastv", {}, 32) == FastV(2, 0.5)
    assert method_of("visipruner", {"phases": "shallow+middle"}, 32) == VisiPruner(phases=("shallow", "middle"))
    assert method_of("visipruner", {"phases": "middle"}, 32) == VisiPruner(phases=("middle",))
    assert method_of("dense", {}, 8) is None


@pytest.mark.parametrize("name", METHODS)
def test_there_and_back(name: str) -> None:
    method = method_of(name, {}, 32)
    assert method is not None
    assert method_of(name, settings_of(method), 32) == method
    known = {field.name for field in fields(METHODS[name])}  # type: ignore[arg-type]
    assert settings_of(method).keys() <= known
    assert not any("," in str(value) for value in settings_of(method).values())


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("hymap", {}, "unknown method 'hymap': choose one of himap, fastv"),
        ("fastv", {"k1": 2}, "'k1' is no setting of fastv: choose of k, r"),
        ("dense", {"k": 2}, "k is no setting of dense, which has none: name a method"),
        ("fastv", {"k": "two"}, "k must be a whole number, not 'two'"),
        ("himap", {"k2": 9}, "8"),
    ],
)
def test_what_is_refused(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(VisionFlowError, match=message):
        method_of(name, settings, 8)
