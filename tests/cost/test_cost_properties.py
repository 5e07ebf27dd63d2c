"""What must hold of the cost of any plan."""

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionflow.core.plan import Plan
from visionflow.core.work import Probed, Work
from visionflow.cost import Convention, DecoderShape, cost_of, cost_of_work
from visionflow.errors import VisionFlowError
from visionflow.methods import VTW, FastV, HiMAP, RandomPruning

SHAPE = DecoderShape(12, 64, 160, 8, 2, 8, 100, image_tokens=144)
CONVENTIONS: tuple[Convention, ...] = get_args(Convention)

conventions = st.sampled_from(CONVENTIONS)
ratios = st.floats(0, 1, exclude_max=True)
layers = st.integers(1, SHAPE.num_layers - 1)
counts = st.integers(0, 700)


@given(conventions, counts, st.integers(0, 200))
def test_the_unpruned_model_costs_what_it_costs(convention: Convention, image: int, text: int) -> None:
    cost = cost_of(Plan(), SHAPE, convention, image_tokens=image, text_tokens=text)
    assert cost.dense == cost.pruned
    assert cost.ratio == 1
    assert cost.kv_bytes_dense == cost.kv_bytes_pruned
    assert cost.average_image_tokens == image


@given(conventions, layers, ratios, ratios, counts)
def test_dropping_more_never_costs_more(convention: Convention, k: int, r: float, other: float, image: int) -> None:
    less, more = sorted((r, other))
    cheap = cost_of(RandomPruning(k, more), SHAPE, convention, image_tokens=image)
    dear = cost_of(RandomPruning(k, less), SHAPE, convention, image_tokens=image)
    assert cheap.pruned <= dear.pruned <= dear.dense
    assert cheap.kv_bytes_pruned <= dear.kv_bytes_pruned
    assert cheap.average_image_tokens <= dear.average_image_tokens


@given(conventions, layers, layers, ratios)
def test_dropping_earlier_never_costs_more(convention: Convention, k: int, other: int, r: float) -> None:
    early, late = sorted((k, other))
    assert cost_of(VTW(early), SHAPE, convention).pruned <= cost_of(VTW(late), SHAPE, convention).pruned
    random = [cost_of(RandomPruning(layer, r), SHAPE, convention).pruned for layer in (early, late)]
    assert random[0] <= random[1]


@given(layers, ratios)
def test_only_flops_pay_for_the_probe(k: int, r: float) -> None:
    probed = {convention: cost_of(FastV(k, r), SHAPE, convention) for convention in CONVENTIONS}
    blocked = {convention: cost_of(RandomPruning(k, r), SHAPE, convention) for convention in CONVENTIONS}
    assert probed["paper"] == blocked["paper"]
    assert probed["gated"] == blocked["gated"]
    one_row = 2 * 1 * (144 + 60) * 8 * 8
    probes = RandomPruning(k, r).cuts()[0].keep(144) < 144  # a cut that drops nothing does not look
    assert probed["flops"].pruned - blocked["flops"].pruned == probes * one_row


def test_the_probes_of_himap() -> None:
    few, all_text = (
        cost_of(HiMAP(2, 0.5, 8, 0.75), SHAPE, "flops", text_tokens=60, instruction_tokens=rows) for rows in (25, None)
    )
    assert all_text.pruned - few.pruned == 2 * (60 - 25) * (144 + 60) * 64
    single = cost_of(RandomPruning(2, 0.5), SHAPE, "flops")
    idle_deep_stage = cost_of(HiMAP(2, 0.5, 8, 0.0), SHAPE, "flops", instruction_tokens=25)
    assert idle_deep_stage.pruned - single.pruned == 2 * 25 * (144 + 60) * 64


@given(conventions, counts, st.integers(1, 4), layers, ratios)
def test_a_batch_of_equals_costs_each_of_them(convention: Convention, image: int, batch: int, k: int, r: float) -> None:
    method = RandomPruning(k, r)
    per_layer = method.plan().image_tokens(image, SHAPE.num_layers)
    image_tokens = [[n] * batch for n in per_layer]
    run = cost_of_work(SHAPE, Work.plain([60 + n for n in per_layer]), image_tokens, convention)
    alone = cost_of(method, SHAPE, convention, image_tokens=image, text_tokens=60)
    assert (run.dense, run.pruned) == (batch * alone.dense, batch * alone.pruned)
    assert (run.kv_bytes_dense, run.kv_bytes_pruned) == (batch * alone.kv_bytes_dense, batch * alone.kv_bytes_pruned)
    assert run.average_image_tokens == alone.average_image_tokens


def test_a_run_counts_fillers_in_flops_and_not_in_the_papers() -> None:
    image_tokens = [[9, 0]] * 2 + [[3, 0]] * 10
    rows = [20] * 2 + [17] * 10  # the second sample is a text of 17 tokens and sets the length
    run, looking = Work.plain(rows), Work.plain(rows, [Probed(1, 5)])
    tight = Work.plain([20] * 2 + [14] * 10)
    for convention in ("paper", "gated"):
        slack, exact = (cost_of_work(SHAPE, work, image_tokens, convention) for work in (looking, tight))
        assert slack != exact, "the KV cache holds the fillers"
        assert slack.pruned == exact.pruned
    executed, probed = (cost_of_work(SHAPE, work, image_tokens, "flops") for work in (run, looking))
    assert executed.pruned > cost_of_work(SHAPE, tight, image_tokens, "flops").pruned
    assert probed.pruned - executed.pruned == 2 * (2 * 5 * 20 * 64)  # batch of two, five rows over twenty keys
    assert executed.average_image_tokens == (2 * 9 + 10 * 3) / 24


def test_grouped_query_heads_are_cheaper_in_flops_and_in_the_cache_only() -> None:
    full = replace(SHAPE, num_kv_heads=8)
    assert cost_of(Plan(), SHAPE, "paper").dense == cost_of(Plan(), full, "paper").dense
    assert cost_of(Plan(), SHAPE, "flops").dense < cost_of(Plan(), full, "flops").dense
    assert cost_of(Plan(), full, "flops").kv_bytes_dense == 4 * cost_of(Plan(), SHAPE, "flops").kv_bytes_dense


def test_what_is_refused() -> None:
    with pytest.raises(VisionFlowError, match="image_tokens must be at least 0, not -1"):
        cost_of(Plan(), SHAPE, "paper", image_tokens=-1)
    with pytest.raises(VisionFlowError, match="text_tokens must be at least 0"):
        cost_of(Plan(), SHAPE, "paper", text_tokens=-1)
    with pytest.raises(VisionFlowError, match="instruction_tokens must be at least 0 and at most 5, not 6"):
        cost_of(Plan(), SHAPE, "paper", text_tokens=5, instruction_tokens=6)
    with pytest.raises(VisionFlowError, match="bytes_per_element"):
        cost_of(Plan(), SHAPE, "paper", bytes_per_element=0)
    with pytest.raises(VisionFlowError, match="unknown convention 'mac': choose one of paper, gated, flops"):
        cost_of(Plan(), SHAPE, "mac")  # type: ignore[arg-type]
    with pytest.raises(VisionFlowError, match="beyond the model's 12 decoder layers"):
        cost_of(VTW(12), SHAPE, "paper")
    with pytest.raises(VisionFlowError, match="depend on the picture"):
        cost_of(Plan(), replace(SHAPE, image_tokens=None), "paper")
    with pytest.raises(VisionFlowError, match="a run of 3 layers"):
        cost_of_work(SHAPE, Work.plain([5] * 3), [[0]] * 3, "paper")
    with pytest.raises(VisionFlowError, match="num_heads of a decoder must be a whole number, at least 1, not 0"):
        replace(SHAPE, num_heads=0)
