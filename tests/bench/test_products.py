"""What the products of a decoder's weights allow by themselves, with a clock that tells what the test says."""

import pytest
from torch import nn

from tests.bench.fakes import FakeClock
from tests.tiny import tiny_llava
from visionflow.bench.measure import Settings, measure
from visionflow.bench.products import linear_layers, product_times, products_efficiency
from visionflow.bench.subject import Subject


def test_the_products_of_a_layer_are_those_of_attention_and_mlp() -> None:
    found = linear_layers(tiny_llava().model.language_model.layers[0])
    assert len(found) == 7
    assert all(isinstance(each, nn.Linear) for each in found)


def test_a_first_round_warms_up_and_the_others_take_turns() -> None:
    told = iter(range(1, 100))
    times = product_times([nn.Linear(4, 2)], {5, 10}, 3, FakeClock(lambda laps: [float(next(told))]))
    assert times == {10: [4, 5, 8], 5: [3, 6, 7]}


def test_the_efficiency_is_the_ratio_of_times_over_that_of_tokens() -> None:
    found = products_efficiency([10, 10], [10, 5], {10: [2.0, 2.0], 5: [1.25, 1.25]})
    assert found.value == pytest.approx((4 / 3.25) / (20 / 15))


def test_each_row_tells_what_its_products_allow() -> None:
    settings = Settings(("fastv",), 2, 40, 12, new_tokens=1, repeats=1)
    dense, fastv = measure(Subject(tiny_llava(), "tiny"), settings, clock=FakeClock(lambda laps: [1.0] * laps)).rows
    assert dense.products_efficiency is not None
    assert dense.products_efficiency.value == 1
    assert fastv.products_efficiency is not None
    assert fastv.products_efficiency.value > 0
    assert fastv.efficiency_processor.value == pytest.approx(fastv.realised_processor.value / fastv.bound)
