"""The KV bytes of the cost model are those that the cache of a real model holds."""

import pytest
import torch

from tests.zoo import ZOO
from tests.zoo.oracles import model_of
from visionflow.cost import DecoderShape
from visionflow.cost.conventions import kv_bytes


@pytest.mark.parametrize("name", ["kimi_k25", "qwen3_vl_moe", "lfm2_vl"])
@torch.no_grad()
def test_bytes_are_those_of_the_cache(name: str) -> None:
    """Compressed keys, experts, and layers that keep a state instead."""
    entry, model = ZOO[name], model_of(ZOO[name])
    inputs = entry.batch([entry.prompt(3, "image", 6)])
    cache = model(**inputs, use_cache=True).past_key_values
    length, shape = inputs["input_ids"].shape[1], DecoderShape.from_config(model.config)
    for place, layer in enumerate(cache.layers):
        held = [getattr(layer, part, None) for part in ("keys", "values")]
        held += [state for name in ("conv_states", "recurrent_states") for state in vars(layer).get(name, {}).values()]
        found = sum(part.numel() * part.element_size() for part in held if isinstance(part, torch.Tensor))
        assert kv_bytes(shape, length, 4, place) == found
