"""Flows knocked out of stretches of layers, against `disrupt` and the model itself."""

import pytest
import torch

from tests.matrix import model_of
from tests.tiny import LAYERS, batch_of, prompt
from tests.zoo import ZOO
from visionflow import UnsupportedUsageError, VisionFlowError
from visionflow.flow import disrupt
from visionflow.flow.knock_out import FLOWS, knock_outs, stretches


def test_each_is_what_disrupt_makes_of_the_first_token() -> None:
    model, inputs = model_of("llava-grouped", "sdpa"), prompt(3, "image", 6).inputs
    found = knock_outs(model, inputs, blocks=2, top=3)
    assert len(found) == len(FLOWS) * 3
    with torch.no_grad():
        clean = int(model(**inputs).logits[0, -1].argmax())
        for each in found:
            layers = range(each.first, each.last + 1)
            with disrupt(model, source=each.source, target=each.target, layers=layers):
                shares = model(**inputs).logits[0, -1].softmax(-1)
            assert each.ids.tolist() == shares.topk(3).indices.tolist()
            torch.testing.assert_close(each.of_clean, float(shares[clean]))
    assert len({round(each.of_clean, 6) for each in found}) > len(FLOWS)


def test_stretches_are_all_runs_of_whole_blocks() -> None:
    assert list(stretches(6, 2)) == [(0, 2), (0, 5), (3, 5)]
    assert len(list(stretches(LAYERS, 99))) == LAYERS * (LAYERS + 1) // 2
    with pytest.raises(VisionFlowError, match="at least 1 block"):
        list(stretches(6, 0))


def test_a_flow_that_leaves_nothing_to_read_is_left_out() -> None:
    """The first token is the picture's: without the picture it could read nothing."""
    only = prompt("image", 4)
    only.ids = only.ids[1:]
    found = knock_outs(model_of("llava-grouped", "sdpa"), only.inputs, flows=[("image", "image"), ("image", "last")])
    assert {each.target for each in found} == {"last"}


def test_layers_without_attention_are_refused() -> None:
    """A stretch of layers would have some out of which nothing can be knocked."""
    entry = ZOO["lfm2_vl"]
    with pytest.raises(UnsupportedUsageError, match=r"only 1, 4 have attention"):
        knock_outs(entry.build(), entry.batch([entry.prompt(3, "image", 4)]), blocks=1)


def test_several_prompts_are_refused() -> None:
    with pytest.raises(UnsupportedUsageError, match="one prompt"):
        knock_outs(model_of("llava-grouped", "sdpa"), batch_of([prompt("image", 4)] * 2))
