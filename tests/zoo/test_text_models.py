"""A plain LLaVA-like with each of the plain text models passes the oracles, whichever it came with."""

from dataclasses import replace
from itertools import product

import pytest
from transformers import CONFIG_MAPPING, PreTrainedConfig

from tests.matrix import quick_or_slow
from tests.zoo import ZOO, Entry
from tests.zoo.oracles import batch_equals_single, cached_equals_uncached, drop_equals_mask, model_of
from tests.zoo.parts import text
from visionflow import HiMAP, Method, VisiPruner
from visionflow.engines.hf.families import FAMILIES
from visionflow.engines.hf.family import PLAIN_TEXT

CLASSES = ("llava", "llava_next", "internvl")
METHODS: list[Method] = [HiMAP(2, 0.5, 4, 0.75), VisiPruner(1, 0.9, 0.3, 0.97, 1, fallback_layer=3)]


def with_text_model(name: str, text_type: str) -> Entry:
    """An entry of the zoo with another text model."""
    entry = ZOO[name]

    def config() -> PreTrainedConfig:
        return CONFIG_MAPPING[name](**entry.config().to_dict() | {"text_config": text(text_type)})

    return replace(entry, config=config)


CELLS = list(product(CLASSES, PLAIN_TEXT))
QUICK_CELLS = [("llava", "mistral"), ("llava", "qwen3"), ("llava_next", "qwen2"), ("internvl", "llama")]
"""Each class and each text model once."""


@pytest.mark.parametrize("cell", quick_or_slow(CELLS, QUICK_CELLS), ids="-".join)
def test_a_text_model_of_another_class(cell: tuple[str, str]) -> None:
    name, text_type = cell
    entry = with_text_model(name, text_type)
    assert model_of(entry).config.get_text_config().model_type == text_type
    for method in METHODS:
        drop_equals_mask(entry, method)
        cached_equals_uncached(entry, method)
        batch_equals_single(entry, method)


def test_these_are_the_text_models_that_are_promised() -> None:
    assert all(FAMILIES[name].text_types == PLAIN_TEXT for name in CLASSES)
