"""Which methods a bench runs, and with which settings."""

import pytest

from visionflow import VTW, FastV, HiMAP, RandomPruning
from visionflow.bench.rows import Variant, all_methods, bench_rows, rows_that_fit
from visionflow.errors import VisionFlowError
from visionflow.methods import METHODS

AT_THE_TOWER = {"visionzip", "scope", "deft", "flowcut"}
"""A bench runs the tower once for all rows."""


def methods(num_layers: int) -> dict[str, object]:
    return {row.name: row.method for row in rows_that_fit(all_methods(), num_layers)[0]}


def test_seven_b_has_the_papers_settings() -> None:
    found = methods(32)
    assert list(found) == ["none", *(name for name in all_methods() if name not in AT_THE_TOWER)]
    assert found["none"] is None
    assert found["random"] == RandomPruning(2, 0.5)
    assert found["himap"] == HiMAP(2, 0.5, 8, 0.75)
    assert found["fastv"] == FastV(2, 0.5)
    assert found["vtw"] == VTW(16)


def test_every_method_that_exists_has_a_row() -> None:
    assert set(all_methods()) == set(METHODS)


@pytest.mark.parametrize(("num_layers", "k"), [(10, 5), (22, 16), (32, 16), (40, 20)])
def test_vtw_stays_at_its_depth(num_layers: int, k: int) -> None:
    assert methods(num_layers)["vtw"] == VTW(k)


def test_visipruner_has_the_mean_profile_of_its_paper() -> None:
    visipruner = METHODS["visipruner"]
    forced = {"layer_threshold": -1.0, "at_least": 10, "at_most": 10, "exit_threshold": -1.0}
    assert methods(32)["visipruner"] == visipruner(shallow_layers=6, fallback_layer=14, exit_patience=9, **forced)
    assert methods(16)["visipruner"] == visipruner(shallow_layers=3, fallback_layer=7, exit_patience=4, **forced)


@pytest.mark.parametrize("num_layers", range(3, 41))
def test_all_fit_any_depth(num_layers: int) -> None:
    deep = num_layers > 3  # sparsevlm makes three cuts
    found = {row.name for row in rows_that_fit(all_methods(), num_layers)[0]}
    assert found == ({*METHODS, "none"} - AT_THE_TOWER if deep else {*METHODS, "none"} - AT_THE_TOWER - {"sparsevlm"})


def test_two_layers_have_no_room_for_two_cuts() -> None:
    rows, left_out = rows_that_fit(all_methods(), 2)
    assert "himap" not in [row.name for row in rows]
    assert "autoprune is left out: depth must be a whole number of layers, at least 3, not 2" in left_out
    assert left_out[0].startswith(
        "himap is left out: a method with 2 cuts needs at least 3 decoder layers, the model has 2"
    )


def test_settings_of_ones_own() -> None:
    names = ["none", "fastv:k=3:r=0.75", "himap:deep_criterion=received", "fastv", "fastv"]
    assert bench_rows(names, 32) == [
        Variant("none", None),
        Variant("fastv:k=3:r=0.75", FastV(3, 0.75)),
        Variant("himap", HiMAP(2, 0.5, 8, 0.75, deep_criterion="received")),
        Variant("fastv", FastV(2, 0.5)),
    ]
    [_, excluding] = bench_rows(["himap:exclude_self=True"], 32)
    assert excluding.method == HiMAP(2, 0.5, 8, 0.75, exclude_self=True)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("flashv", "unknown method 'flashv': choose one of himap, fastv"),
        ("fastv:q=3", "'q' is no setting of fastv: choose of k, r"),
        ("fastv:k", "'k' is no setting of fastv"),
        ("fastv:r=2", "r is the fraction of image tokens dropped"),
        ("fastv:r=much", "r must be a finite number, not 'much'"),
        ("vtw:k=32", "the cut before layer 32 is beyond the model's 32 decoder layers"),
    ],
)
def test_wrong_names_and_settings_are_refused(name: str, says: str) -> None:
    with pytest.raises(VisionFlowError, match=says.replace("(", r"\(")):
        bench_rows([name], 32)


def test_a_method_that_looks_at_the_vision_tower_is_left_out() -> None:
    """Pictures are encoded once for all rows."""
    with pytest.raises(VisionFlowError, match="visionzip looks at the vision tower"):
        bench_rows(("visionzip",), 6)
    rows, left_out = rows_that_fit(("fastv", "visionzip"), 6)
    assert [row.name for row in rows] == ["none", "fastv"]
    assert left_out == [
        "visionzip is left out: visionzip looks at the vision tower, which a bench runs once for all rows: leave it out"
    ]
