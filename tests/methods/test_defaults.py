"""Thresholds belong to one model each; layers follow the depth."""

import pytest

from tests.questions import samples, tiny_loaded
from tests.tiny import LAYERS
from visionflow import VTW, VisiPruner, method
from visionflow.evaluation.run import run_of
from visionflow.lmms.settings import method_of

EMBEDDED = VisiPruner(shallow_layers=2, layer_threshold=0.801, token_threshold=0.0057, token_scale="relative")


@pytest.mark.parametrize(
    ("model", "depth", "wanted"),
    [
        ("embedded", 12, EMBEDDED),
        ("runs/mine", 8, VisiPruner(shallow_layers=2)),
        ("runs/mine", 6, VisiPruner(shallow_layers=1)),
        ("", 3, VisiPruner(shallow_layers=1)),
        ("owner/name", 32, VisiPruner()),
    ],
)
def test_the_thresholds_of_the_embedded_model_are_its_own(model: str, depth: int, wanted: VisiPruner) -> None:
    assert method("visipruner", depth, model) == wanted
    assert method_of("visipruner", {}, depth, model) == wanted


def test_what_was_used_is_said_even_where_it_is_the_default() -> None:
    for said in ("shallow_layers=6", "layer_threshold=0.995", "token_threshold=0.2", "token_scale='absolute'"):
        assert said in str(VisiPruner())
    assert "found for LLaVA-1.5" in VisiPruner.whose_defaults(6, "runs/mine")
    assert "of the embedded model" in VisiPruner.whose_defaults(12, "embedded")
    assert VTW.whose_defaults(6, "runs/mine") == "the default for 6 layers"


@pytest.mark.parametrize(("name", "shallow", "threshold"), [("embedded", 2, 0.801), ("mine", 1, 0.995)])
@pytest.mark.parametrize("rows", ["table", "phases"])
def test_an_evaluation_goes_by_the_models_name(name: str, shallow: int, threshold: float, rows: str) -> None:
    loaded = tiny_loaded()._replace(name=name)
    run = run_of(loaded, "scenes", samples(1, "open"), methods=["visipruner"], rows=rows)
    assert f"VisiPruner(shallow_layers={shallow}, layer_threshold={threshold}," in run.described["rows"]["visipruner"]
    assert LAYERS <= 8
