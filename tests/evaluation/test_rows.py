"""The rows: equal budgets in both ways of counting, and an oracle that keeps what it is told to keep."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.questions import samples, tiny_loaded
from tests.tiny import LAYERS, PER_IMAGE
from visionflow import FastV, HiMAP, VisiPruner, prune
from visionflow.errors import VisionFlowError
from visionflow.evaluation.oracle import Oracle
from visionflow.evaluation.rows import (
    NO_IMAGE,
    REFERENCE,
    Configuration,
    RandomSteps,
    chosen_rows,
    phase_rows,
    seeing,
    sweep_rows,
    table_rows,
)
from visionflow.loading.prompts import make_prompts


def tokens(row: Configuration, image_tokens: int, num_layers: int) -> list[int]:
    assert row.method is not None
    return row.method.plan().image_tokens(image_tokens, num_layers)


def by_name(num_layers: int) -> dict[str, Configuration]:
    return {row.name: row for row in table_rows(num_layers)}


def test_the_papers_settings_at_the_papers_depth() -> None:
    rows = by_name(32)
    assert rows["himap-paid"].method == HiMAP(2, 0.5, 8, 0.75)
    assert rows["fastv"].method == FastV(2, 0.5)
    assert rows["vtw"].settings == "VTW(k=16)"
    assert by_name(8)["himap-paid"].method == HiMAP(2, 0.5, 4, 0.75)


@pytest.mark.parametrize(("num_layers", "image_tokens"), [(32, 576), (8, 144), (12, 144), (6, 25)])
def test_equal_budgets_are_equal(num_layers: int, image_tokens: int) -> None:
    rows = by_name(num_layers)
    himap = tokens(rows["himap-paid"], image_tokens, num_layers)
    for name in ("random-end", "fastv-end"):
        assert tokens(rows[name], image_tokens, num_layers)[-1] == himap[-1]
    for name in ("random-average", "fastv-average"):
        average = np.mean(tokens(rows[name], image_tokens, num_layers))
        assert abs(average - np.mean(himap)) <= 1  # a token cannot be cut in two
    for name in ("random-steps", "himap-received"):
        assert tokens(rows[name], image_tokens, num_layers) == himap
    assert rows["random-steps"].method is not None
    assert all(cut.probed is None for cut in rows["random-steps"].method.cuts())


def test_each_stage_alone() -> None:
    rows = by_name(8)
    assert tokens(rows["himap-stage1"], 144, 8) == [144] * 2 + [72] * 6
    assert tokens(rows["himap-stage2"], 144, 8) == [144] * 4 + [36] * 4


def test_the_oracle_keeps_exactly_the_relevant_patches() -> None:
    loaded = tiny_loaded()
    asked = samples(6, "open")
    pictures = [each.images() for each in asked]
    inputs = make_prompts(loaded.model, loaded.processor, pictures, [each.prompt for each in asked])
    wanted = np.stack([each.relevant(5).ravel() for each in asked if each.relevant])
    assert 0 in wanted.sum(1)
    assert len(set(wanted.sum(1))) > 2
    with torch.inference_mode(), prune(loaded.model, Oracle(2, torch.from_numpy(wanted))) as trace:
        loaded.model.generate(**inputs, max_new_tokens=2, do_sample=False)
    first = (inputs["input_ids"] == loaded.model.config.image_token_id).int().argmax(1)
    for place, kept in enumerate(trace.stages[0].kept):
        assert (kept - first[place]).tolist() == np.flatnonzero(wanted[place]).tolist()
    assert trace.image_tokens[:2].tolist() == [[PER_IMAGE] * 6] * 2
    assert trace.image_tokens[2:].tolist() == [wanted.sum(1).tolist()] * (LAYERS - 2)


def test_an_oracle_with_a_margin_keeps_the_relevant_patches_first() -> None:
    """And others by lot, so that as many stay of every prompt; also before the first layer."""
    loaded = tiny_loaded()
    asked = samples(6, "open")
    pictures = [each.images() for each in asked]
    inputs = make_prompts(loaded.model, loaded.processor, pictures, [each.prompt for each in asked])
    wanted = np.stack([each.relevant(5).ravel() for each in asked if each.relevant])
    first = (inputs["input_ids"] == loaded.model.config.image_token_id).int().argmax(1)
    for k in (0, 2):
        oracle = Oracle(k, torch.from_numpy(wanted), r=0.5)
        with torch.inference_mode(), prune(loaded.model, oracle) as trace:
            loaded.model(**inputs)
        kept = [set((each - first[place]).tolist()) for place, each in enumerate(trace.stages[0].kept)]
        assert {len(each) for each in kept} == {13}
        for patches, each in zip(wanted, kept, strict=True):
            relevant = set(np.flatnonzero(patches).tolist())
            assert relevant <= each or each <= relevant
        few = [place for place, patches in enumerate(wanted) if patches.sum() < 7]
        assert len({frozenset(kept[place]) for place in few}) == len(few) > 1
    with pytest.raises(VisionFlowError, match="k must be a whole number of layers, at least 1"):
        Oracle(0)


def test_an_oracle_that_knows_nothing_is_refused() -> None:
    with pytest.raises(VisionFlowError, match="leave the row oracle out"):
        Configuration("oracle", Oracle(2)).on(None)


def test_another_seed_is_another_draw() -> None:
    loaded = tiny_loaded()
    (asked,) = samples(1, "open")
    inputs = make_prompts(loaded.model, loaded.processor, [asked.images()], [asked.prompt])

    def kept(seed: int) -> Any:
        with torch.inference_mode(), prune(loaded.model, RandomSteps(1, 0.5, 3, 0.5, seed)) as trace:
            loaded.model(**inputs)
        return [stage.kept[0].tolist() for stage in trace.stages]

    assert kept(0) == kept(0) != kept(1)
    assert {row.method for row in table_rows(8, seed=1)} != {row.method for row in table_rows(8)}


def test_rows_are_picked_by_name_and_dense_is_always_there() -> None:
    rows = table_rows(8)
    assert [row.name for row in chosen_rows(rows, ["vtw", "fastv"])] == [REFERENCE, "fastv", "vtw"]
    assert chosen_rows(rows, []) == rows
    with pytest.raises(VisionFlowError, match="no row 'fastw': choose of dense, oracle"):
        chosen_rows(rows, ["fastw"])


def test_the_phases_differ_from_each_other_in_one_thing() -> None:
    rows = {row.name.removeprefix("visipruner"): row.method for row in phase_rows(32)}
    whole = rows[""]
    assert isinstance(whole, VisiPruner)
    assert whole == VisiPruner()
    assert rows["-middle"] == replace(whole, phases=("middle",))
    assert rows["-middle-deep"] == replace(whole, phases=("middle", "deep"))
    assert rows["-cached"] == replace(whole, shallow_cache=True)
    assert [rows[f"-by-{rule}"].selection for rule in ("last", "text", "image")] == ["last", "text", "image"]  # type: ignore[union-attr]
    assert {row.name for row in phase_rows(8)} == {row.name for row in phase_rows(32)}


def test_a_sweep_gets_cheaper_point_by_point() -> None:
    rows = sweep_rows(8)
    curves: dict[str, list[float]] = {}
    for row in rows:
        if row.series not in ("", "oracle"):
            curves.setdefault(row.series, []).append(float(np.mean(tokens(row, 144, 8))))
    assert set(curves) == {"random", "random-steps", "fastv", "himap-paid", "himap-received", "vtw"}
    for name, curve in curves.items():
        assert curve == sorted(curve, reverse=name != "vtw")
        assert len(set(curve)) == len(curve) >= 3
    assert [row.series for row in chosen_rows(rows, ["fastv"])] == ["", *["fastv"] * 4]


def test_another_sight_is_for_all_that_would_see_the_picture() -> None:
    rows = [Configuration("a", None), Configuration(NO_IMAGE, None, sight="none")]
    assert seeing(rows, "grey") == [replace(rows[0], sight="grey"), rows[1]]
    with pytest.raises(VisionFlowError, match="unknown sight 'blurred'"):
        seeing(rows, "blurred")


def test_two_cuts_need_layers() -> None:
    with pytest.raises(VisionFlowError, match="2 cuts needs at least 3 decoder layers, the model has 2"):
        table_rows(2)
