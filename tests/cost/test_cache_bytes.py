"""The KV bytes of the cost model are those that the cache of a real model holds, states included."""

import pytest
import torch

from tests.matrix import quick_or_slow
from tests.zoo import ZOO
from tests.zoo.oracles import model_of
from tests.zoo.survey import SURVEY
from visionflow import VTW, prune
from visionflow.answering.facts import kv_bytes
from visionflow.cost.shape import GATED_DENSE
from visionflow.cost.text_models import UNEVEN

NAMES = sorted({traits.text_type: name for name, traits in SURVEY.items() if traits.text_type in UNEVEN}.values())


def test_every_text_model_but_those_of_plain_attention_is_there() -> None:
    assert {SURVEY[name].text_type for name in NAMES} == UNEVEN.keys()
    assert not UNEVEN.keys() & GATED_DENSE


@pytest.mark.parametrize("name", quick_or_slow(NAMES, ["kimi_k25", "lfm2_vl", "inkling_mm_model"]))
@torch.no_grad()
def test_bytes_are_those_of_the_cache(name: str) -> None:
    """Compressed keys, an indexer's keys, keys of earlier layers, and layers that keep a state instead."""
    model, inputs = model_of(ZOO[name]), ZOO[name].batch([ZOO[name].prompt(3, "image", 6)])
    with prune(model, VTW(2)) as trace:
        output = model(**inputs, use_cache=True)
    cache = getattr(output, "language_model_outputs", output).past_key_values  # BLIP-2's is one level down
    assert kv_bytes(cache) == trace.cost("flops").kv_bytes_pruned
