"""Every family that is supported passes the oracles; with all methods: ``make matrix``."""

import pytest
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from tests.matrix import quick_or_slow
from tests.zoo import OTHER_TEXTS, REFUSED, ZOO
from tests.zoo.matrix import METHODS, PAGE, ROWS, page
from tests.zoo.oracles import ORACLES, methods_of, newer_methods_of
from tests.zoo.quick import shared_out
from visionflow import UnsupportedModelError
from visionflow.engines.hf.families import FAMILIES, UNSUPPORTED, UNTRIED, family_of_config
from visionflow.engines.hf.family import PLAIN_TEXT


@pytest.mark.parametrize("name", shared_out(FAMILIES.keys() & ZOO.keys()))
def test_every_oracle_with_himap(name: str) -> None:
    entry = ZOO[name]
    himap = methods_of(entry)[0]
    for oracle in ORACLES.values():
        oracle(entry, himap)


@pytest.mark.parametrize(
    "name",
    quick_or_slow(["llava_next", "qwen2_5_vl", "qwen3_vl", "gemma3", *OTHER_TEXTS], ["qwen2_5_vl"]),
)
def test_every_oracle_with_every_method(name: str) -> None:
    for method in methods_of(ROWS[name])[name in ZOO :]:  # HiMAP runs on all of the zoo above
        for oracle in ORACLES.values():
            oracle(ROWS[name], method)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["gemma3", "gemma3n", "idefics3", "internvl", "llava_next", "paligemma", "qwen2_5_vl", "qwen3_vl"]
)
def test_every_oracle_with_newer_methods(name: str) -> None:
    for method in newer_methods_of(ROWS[name]):
        for oracle in ORACLES.values():
            oracle(ROWS[name], method)


def test_every_class_of_transformers_is_supported_or_refused_for_a_reason() -> None:
    """A new transformers version that adds a class fails here until someone has looked at it."""
    known = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.keys()
    assert (FAMILIES.keys() & known) | UNSUPPORTED.keys() == known - UNTRIED.keys()
    assert not FAMILIES.keys() & (UNSUPPORTED | UNTRIED).keys()
    assert not UNSUPPORTED.keys() & UNTRIED.keys()
    assert UNSUPPORTED.keys() >= REFUSED.keys()
    assert all(family.text_types for family in FAMILIES.values())


def test_every_text_model_that_is_taken_is_run() -> None:
    """With its class; the plain ones with some (`test_text_models`)."""
    for name in FAMILIES.keys() & ZOO.keys():
        run = {each.config().get_text_config().model_type for each in ROWS.values() if each.model_type == name}
        assert run <= set(FAMILIES[name].text_types) <= run | set(PLAIN_TEXT)


@pytest.mark.parametrize("name", sorted(UNSUPPORTED | UNTRIED))
def test_the_others_are_refused_by_name(name: str) -> None:
    class Config:
        model_type = name

    with pytest.raises(UnsupportedModelError, match=f"model type '{name}' is not supported: .* docs/families.md"):
        family_of_config(Config())  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_page_is_true() -> None:
    """Its rows say that everything holds, which the tests above and ``make matrix`` see to."""
    everything = {name: {method.name: [] for method in methods_of(entry)} for name, entry in ROWS.items()}
    assert page(everything) == PAGE.read_text(encoding="utf-8")
    assert set(METHODS) >= {method for found in everything.values() for method in found}
