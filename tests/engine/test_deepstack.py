"""Picture features that a decoder adds between its layers go to the tokens that they are of, where these are left."""

import pytest

from tests.zoo import ZOO
from tests.zoo.oracles import batch_equals_single, drop_equals_mask
from visionflow import VTW, FastV, HiMAP, Method


@pytest.mark.parametrize("method", [HiMAP(1, 0.5, 3, 0.5), VTW(1)], ids=str)
def test_granite_adds_them_before_a_layer(method: Method) -> None:
    drop_equals_mask(ZOO["granite4_vision"], method)


def test_granite_adds_to_each_sample_its_own() -> None:
    batch_equals_single(ZOO["granite4_vision"], FastV(1, 0.5))


def test_qwen_adds_them_after_a_layer() -> None:
    drop_equals_mask(ZOO["qwen3_vl"], HiMAP(1, 0.5, 2, 0.5))
