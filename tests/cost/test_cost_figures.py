"""The figures that the papers print, or that were counted on the real shapes."""

from dataclasses import replace

import pytest

from visionflow.core.plan import Plan
from visionflow.cost import PRESETS, DecoderShape, cost_of
from visionflow.methods import DivPrune, FastV, HiMAP, Method, PyramidDrop
from visionflow.papers import HIMAP_TABLES, Printed

SEVEN, THIRTEEN = PRESETS["llava-1.5-7b"], PRESETS["llava-1.5-13b"]
LINES = [(table.number, line) for table in HIMAP_TABLES for line in table.lines]


def three_digits(value: float) -> object:
    return pytest.approx(value, abs=6e-4)


@pytest.mark.parametrize(
    ("shape", "method", "tera"),
    [
        (SEVEN, Plan(), 2.986),
        (SEVEN, FastV(2, 0.5), 1.566),
        (SEVEN, HiMAP(2, 0.5, 8, 0.75), 0.735),
        (SEVEN, HiMAP(2, 0.5, 15, 0.75), 0.978),
        (THIRTEEN, Plan(), 5.813),
        (THIRTEEN, FastV(2, 0.5), 3.020),
        (THIRTEEN, FastV(3, 0.5), 3.093),
        (THIRTEEN, HiMAP(3, 0.5, 8, 0.75), 1.364),
    ],
    ids=str,
)
def test_paper_convention(shape: DecoderShape, method: Method | Plan, tera: float) -> None:
    assert cost_of(method, shape, "paper").pruned / 1e12 == three_digits(tera)


def test_pyramid_and_a_cut_before_the_first_layer() -> None:
    """PyramidDrop's paper prints 1.78 T, all three matrices counted; 64 tokens everywhere are a ninth."""
    pyramid = cost_of(PyramidDrop(), SEVEN, "gated")
    assert pyramid.pruned / 1e12 == three_digits(1.777)
    assert pyramid.average_image_tokens == 270
    set_of_64 = [cost_of(DivPrune(8 / 9), SEVEN, each) for each in ("paper", "gated")]
    assert [cost.pruned / 1e12 for cost in set_of_64] == [three_digits(0.323), three_digits(0.416)]
    assert set_of_64[0].dense / 1e12 == three_digits(2.986)


def test_paper_ratios() -> None:
    assert cost_of(HiMAP(2, 0.5, 8, 0.75), SEVEN, "paper").ratio == three_digits(0.246)
    assert cost_of(HiMAP(3, 0.5, 8, 0.75), THIRTEEN, "paper").ratio == three_digits(0.235)


def test_gated_convention() -> None:
    # VisiPruner prints 3.82 and 7.44.
    assert cost_of(Plan(), SEVEN, "gated").dense / 1e12 == three_digits(3.817)
    assert cost_of(Plan(), THIRTEEN, "gated").dense / 1e12 == three_digits(7.444)


def test_flops_of_the_7b_prefill() -> None:
    # Counted by FlopCounterMode on the language model of LLaVA-1.5-7B, 576 + 60 tokens, on the meta device.
    assert cost_of(Plan(), SEVEN, "flops").dense / 1e12 == three_digits(8.450)
    assert cost_of(Plan(), SEVEN, "flops", logits_rows=None).dense / 1e12 == three_digits(8.617)


def test_kv_cache_and_average() -> None:
    cost = cost_of(HiMAP(2, 0.5, 8, 0.75), SEVEN, "paper")
    assert cost.kv_bytes_dense == 32 * 636 * 2 * 4096 * 2
    assert cost.kv_bytes_pruned == (2 * 636 + 6 * 348 + 24 * 132) * 2 * 4096 * 2
    assert cost.average_image_tokens == (2 * 576 + 6 * 288 + 24 * 72) / 32 == 144


FOLLOWS = {  # (table, model, method): cells of the HiMAP paper that do not follow, "T" and "%"
    (1, "LLaVA-v1.5-7B", "FastV 2 0.5"): "%",
    (1, "LLaVA-v1.5-13B", "FastV 2 0.5"): "T%",
    (1, "QwenVL-Chat-7B", "Baseline"): "T",
    (1, "QwenVL-Chat-7B", "FastV 2 0.5"): "T",
    (1, "QwenVL-Chat-7B", "HiMAP 2 0.5 8 0.75"): "T",
    (2, "LLaVA-v1.5-7B", "FastV 2 0.5"): "%",
    (2, "LLaVA-v1.5-7B", "HiMAP 2 0.5 15 0.75"): "T%",
    (2, "LLaVA-v1.5-13B", "FastV 2 0.5"): "T%",
    (2, "LLaVA-v1.5-13B", "HiMAP 3 0.5 15 0.75"): "T%",
}


@pytest.mark.parametrize(("table", "line"), LINES, ids=lambda each: getattr(each, "label", str(each)))
def test_which_cells_of_the_paper_follow(table: int, line: Printed) -> None:
    marks = ("" if line.tera_follows else "T") + ("" if line.percent_follows else "%")
    assert marks == FOLLOWS.get((table, line.model, line.label), "")
    assert bool(line.reason) == bool(marks), "a reason for every cell that does not follow, and for no other"


@pytest.mark.parametrize(
    "line", [line for _, line in LINES if "would fit" in line.reason], ids=lambda line: line.reason
)
def test_what_is_said_to_fit_fits(line: Printed) -> None:
    instead = replace(line, method=line.nearest)
    assert instead.tera_follows
    assert instead.percent_follows
