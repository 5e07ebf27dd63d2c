"""Layers that read what earlier ones made, keys or picks: no cut between them, and nothing left out after a pick."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tests.zoo import ZOO
from tests.zoo.entry import IMAGE, Entry
from tests.zoo.oracles import cached_equals_uncached, drop_equals_mask, model_of
from visionflow import FastV, HiMAP, UnsupportedUsageError, VisiPruner, prune
from visionflow.core import Block, Withhold
from visionflow.core.plan import Plan
from visionflow.engines.hf.families import FAMILIES
from visionflow.engines.hf.scope import Scope
from visionflow.engines.hf.sharing import closed_to_cuts

LARGE = ZOO["mistral_large4"]


def sharing(**said: list[int] | list[str]) -> Entry:
    """A Mistral Large 4 whose layers share keys or picks."""

    def config() -> object:
        made = LARGE.config()
        for name, value in said.items():
            setattr(made.get_text_config(), name, value)
        return made

    return replace(LARGE, config=config)


KEYS = sharing(kv_source_layers=[0, 1, 2, 1, 4, 5], no_rope_layers=[1] * 6)
PICKS = sharing(indexer_types=["full", "full", "shared", "shared", "full", "full"])


@pytest.mark.parametrize("entry", [KEYS, PICKS], ids=["keys", "picks"])
def test_no_cut_falls_between_a_layer_and_those_that_read_what_it_made(entry: Entry) -> None:
    model = model_of(entry)
    assert FAMILIES["mistral_large4"].closed_to_cuts(model) == {2, 3}
    for layer in (2, 3):
        with pytest.raises(UnsupportedUsageError, match=r"read the keys of earlier ones.*possible: 0, 1, 4, 5"):
            prune(model, FastV(layer, 0.5))
    for oracle in (drop_equals_mask, cached_equals_uncached):
        oracle(entry, HiMAP(1, 0.5, 4, 0.5))


@pytest.mark.parametrize("entry", [KEYS, PICKS, ZOO["gemma4"]], ids=["keys", "picks", "gemma4"])
def test_keys_that_later_layers_read_as_well_are_not_withheld(entry: Entry) -> None:
    """Of the layer just before the first that is closed; the others let go of theirs."""
    model = model_of(entry)
    first = min(FAMILIES[entry.model_type].closed_to_cuts(model))
    with Scope(model, Plan(withheld=(Withhold((first - 2,), "image"),))):
        pass
    with pytest.raises(UnsupportedUsageError, match="read the keys of earlier ones"):
        Scope(model, Plan(withheld=(Withhold((first - 1,), "image"),)))


@torch.no_grad()
def test_an_indexer_lets_go_of_what_its_layer_lets_go_of() -> None:
    model, inputs = model_of(LARGE), LARGE.batch([LARGE.prompt(3, "image", 6)])
    dense = model(**inputs).past_key_values.layers[0]
    with Scope(model, Plan(withheld=(Withhold((0,), "image"),))):
        held = model(**inputs).past_key_values.layers[0]
    stays = inputs["input_ids"][0] != IMAGE
    assert torch.equal(held.keys, dense.keys[:, :, stays])
    assert torch.equal(held.indexer_keys, dense.indexer_keys[:, stays])


def test_who_reads_whose_keys() -> None:
    kinds = ["sliding", "full", "sliding", "full", "sliding"]
    late = [SimpleNamespace(layer_type=kind, is_kv_shared_layer=at > 2) for at, kind in enumerate(kinds)]
    assert closed_to_cuts(late, SimpleNamespace()) == {2, 3, 4}  # the full one reads layer 1
    assert closed_to_cuts(late[:3], SimpleNamespace()) == set()
    taken = SimpleNamespace(kv_source_layers=[0, 0, 2, 2], indexer_types=["full", "full", "full", "shared"])
    assert closed_to_cuts([], taken) == {1, 3}


@pytest.mark.parametrize(
    ("name", "why"), [("dots3_note", "an indexer picks"), ("inkling_mm_model", "convolutions beside")]
)
def test_nothing_is_left_out_after_an_indexer_has_picked_or_beside_convolutions(name: str, why: str) -> None:
    model = model_of(ZOO[name])
    with pytest.raises(UnsupportedUsageError, match=f"{why} .* leave 'shallow' out of the phases"):
        prune(model, VisiPruner(1))
    with pytest.raises(UnsupportedUsageError, match=why):
        Scope(model, Plan(blocks=(Block((0,), "image", "instruction", "zero"),)))
    with prune(model, VisiPruner(1, phases=("middle", "deep"))):
        pass
