"""Static caches: each layer has rows for what is left of the prompt and for the answer, which is the dynamic one's."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from transformers import DynamicCache, PreTrainedModel, StaticCache
from transformers.generation import CompileConfig

from tests.accelerator import claimed, moved, watched
from tests.matrix import METHODS, model_of, quick_or_slow
from tests.tiny import IMAGE_TOKEN, batch_of, positions, prompt, tiny_llava
from tests.zoo import ZOO
from tests.zoo.oracles import methods_of
from tests.zoo.oracles import model_of as model_of_family
from tests.zoo.quick import shared_out
from visionflow import VTW, FastV, HiMAP, Method, UnsupportedUsageError, prune
from visionflow.engines.hf.families import FAMILIES
from visionflow.methods import DivPrune, PyramidDrop

HIMAP = HiMAP(2, 0.5, 4, 0.75)
SETTINGS: dict[str, Any] = {"do_sample": False, "return_dict_in_generate": True, "output_logits": True}
QUICK = (HIMAP, FastV(2, 0.5), VTW(3), PyramidDrop((0, 2, 4)), DivPrune(0.6, positions="compact"))


def one() -> dict[str, Any]:
    return batch_of([prompt(3, "image", 6)])


def padded() -> dict[str, Any]:
    return batch_of([prompt(3, "image", 6), prompt(20, "image", 12)])


def static(model: PreTrainedModel, columns: int = 64, **settings: Any) -> StaticCache:
    return StaticCache(model.config.get_text_config(), columns, **settings)


def agree(one: Any, other: Any) -> None:
    """Two answers: the same tokens, of logits that are nearly the same (rows that nobody reads are summed over)."""
    assert torch.equal(one.sequences, other.sequences)
    for mine, theirs in zip(one.logits, other.logits, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("inputs", [one, padded], ids=lambda each: each.__name__)
@pytest.mark.parametrize("method", quick_or_slow(METHODS, QUICK), ids=str)
def test_answers_are_those_on_dynamic_caches(model: PreTrainedModel, method: Method, inputs: Any) -> None:
    """Made by `generate`, or given to it."""
    settings = {**SETTINGS, "max_new_tokens": 5}
    with prune(model, method) as trace:
        expected = model.generate(**inputs(), **settings)
        kept = trace.image_tokens
        agree(model.generate(**inputs(), **settings, cache_implementation="static"), expected)
        assert torch.equal(trace.image_tokens, kept)
        agree(model.generate(**inputs(), **settings, past_key_values=static(model)), expected)


NO_STATIC_LAYERS = {
    *("dots3_note", "gemma3n", "gemma4", "inkling_mm_model", "lfm2_vl", "lfm3_vl", "minicpm_ocr", "minicpmv4_6"),
    *("minicpmv4_7", "mistral_large4", "nemotron_h_omni", "qwen3_5", "qwen3_5_moe"),
}


@pytest.mark.parametrize("name", shared_out(FAMILIES.keys() & ZOO.keys()))
def test_families_answer_as_on_dynamic_caches_or_are_refused(name: str) -> None:
    """Windows, several axes of positions, features added between layers, codes of the text vocabulary."""
    entry, model = ZOO[name], model_of_family(ZOO[name])
    inputs = entry.batch([entry.prompt(3, "image", 6), entry.prompt(8, "image", 4, seed=1)][: 1 + entry.batches])
    settings = {**SETTINGS, "max_new_tokens": 3}
    with prune(model, methods_of(entry)[0]):
        if name in NO_STATIC_LAYERS:
            with pytest.raises(UnsupportedUsageError, match="some layers of this model keep no keys of their own"):
                model.generate(**inputs, **settings, cache_implementation="static")
        else:
            expected = model.generate(**inputs, **settings)
            agree(model.generate(**inputs, **settings, cache_implementation="static"), expected)


def test_each_layer_has_rows_for_what_was_left_and_for_the_answer(model: PreTrainedModel) -> None:
    """Of samples with different counts the longest says how many."""
    cache, inputs = static(model, 80), batch_of([prompt(3, "image", 6), prompt(2, "image", 4, "image", 9)])
    length = inputs["input_ids"].shape[1]
    with prune(model, HIMAP) as trace:
        model(**inputs, position_ids=positions(inputs), past_key_values=cache)
    assert [layer.keys.shape[2] for layer in cache.layers] == [rows + 80 - length for rows in trace.lengths]
    assert len({*trace.lengths}) == 3


# Steps of an answer --------------------------------------------------------------------------------------------------


@torch.no_grad()
def step_of(model: PreTrainedModel, inputs: dict[str, Any], cache: Any) -> Callable[[], dict[str, Any]]:
    """Read a prompt; what comes back gives the arguments of one step after the other, as `generate` makes them."""
    taken = {"mask": inputs["attention_mask"], "place": positions(inputs)}
    model(**inputs, position_ids=taken["place"], past_key_values=cache)

    def arguments() -> dict[str, Any]:
        ids = taken["mask"].new_full((len(taken["mask"]), 1), 5)
        taken["mask"] = torch.cat([taken["mask"], torch.ones_like(ids)], 1)
        taken["place"] = taken["place"][:, -1:] + 1
        made: dict[str, Any] = model.prepare_inputs_for_generation(
            ids, 1, past_key_values=cache, attention_mask=taken["mask"], position_ids=taken["place"]
        )
        return made

    return arguments


@pytest.mark.parametrize("method", quick_or_slow([HIMAP, FastV(2, 0.5), VTW(3)], [HIMAP]), ids=str)
def test_a_step_is_one_graph_which_is_good_for_other_prompts(model: PreTrainedModel, method: Method) -> None:
    """No break, no value read, no shape that changes: of prompts with other texts, too.

    Not of VisiPruner: where it drops depends on the prompt, and so which layers hold the same tokens.
    """
    graphs = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    compiled = torch.compile(model.__call__, fullgraph=True, backend=backend, dynamic=False)
    longer = batch_of([prompt(4, "image", 7, seed=1), prompt(21, "image", 13)])
    with prune(model, method), torch.no_grad():
        for inputs in (padded(), longer):
            plain, other = static(model), static(model)
            eagerly, step = step_of(model, inputs, plain), step_of(model, inputs, other)
            for _ in range(2):
                expected = model(**eagerly()).logits
                torch.testing.assert_close(compiled(**step()).logits, expected)
    assert len(graphs) == 1


@pytest.mark.slow
def test_layers_that_are_compiled_one_by_one_are_so_for_all_steps_and_scopes() -> None:
    torch.compiler.reset()
    model, plain, graphs = tiny_llava(2), tiny_llava(2), []
    for each in (model, plain):
        each.model.language_model.layers = each.model.language_model.layers[:3]
        each.config.text_config.num_hidden_layers = 3
    compiler = CompileCounterWithBackend("eager")
    for layer in model.model.language_model.layers:
        layer.compile(backend=compiler, fullgraph=True, dynamic=False)
    for _ in range(2):
        with prune(model, FastV(1, 0.5)), prune(plain, FastV(1, 0.5)), torch.no_grad():
            step, expected = step_of(model, padded(), static(model)), step_of(plain, padded(), static(plain))
            for _ in range(2):
                torch.testing.assert_close(model(**step()).logits, plain(**expected()).logits)
                graphs.append(len(compiler.graphs))
    assert len({*graphs}) == 1


@pytest.mark.slow
def test_what_generate_compiles_knows_each_scope_from_the_others_and_from_none(model: PreTrainedModel) -> None:
    """On accelerators transformers compiles the steps on a static cache, and keeps what it compiled."""
    torch.compiler.reset()
    settings = CompileConfig(fullgraph=True, backend=_eagerly, mode=None, dynamic=False)
    settings._compile_all_devices = True
    inputs, answer = padded(), {**SETTINGS, "max_new_tokens": 4}

    def compiled() -> Any:
        _graphs.clear()
        return model.generate(**inputs, **answer, cache_implementation="static", compile_config=settings)

    dense = model.generate(**inputs, **answer)
    try:
        agree(compiled(), dense)
        for method in (HIMAP, VTW(3), HIMAP):
            with prune(model, method):
                agree(compiled(), model.generate(**inputs, **answer))
                assert len(_graphs) == 1  # of each scope its own
        agree(compiled(), dense)
        assert not _graphs
    finally:
        del model._compiled_call


_graphs: list[Any] = []


def _eagerly(graph: Any, inputs: Any) -> Any:
    _graphs.append(graph)
    return graph.forward


@pytest.mark.parametrize("method", QUICK, ids=str)
def test_a_step_waits_for_nothing_and_looks_up_little(method: Method) -> None:
    """Beside that of dense on a static cache: the masks are looked up once for each cut, not in each layer."""
    model, counted = tiny_llava(kv_heads=2), []
    moved(model)
    for each in (None, method):
        cache = static(model)
        with prune(model, each or HiMAP(2, 0.0, 4, 0.0)):
            with watched():
                step = step_of(model, claimed(padded()), cache)
                kept = [(layer.keys, layer.cumulative_length) for layer in cache.layers]
                arguments = step()
            with watched() as log, torch.no_grad():
                model(**arguments)
        assert not log.waits
        assert all(
            layer.keys is keys and layer.cumulative_length is count
            for layer, (keys, count) in zip(cache.layers, kept, strict=True)
        )
        counted.append(log.operations)
    cuts = len({cut.layer for cut in method.cuts()})
    assert counted[1] - counted[0] <= 1 + 2 * cuts + (20 if method.plan().positions == "compact" else 0)


# What becomes of a cache ---------------------------------------------------------------------------------------------


@torch.no_grad()
def logits(model: PreTrainedModel, cache: Any, turns: list[dict[str, Any]]) -> Tensor:
    """Those of the last tokens of each turn of a conversation of one sample."""
    found = [model(**turn, past_key_values=cache, use_cache=True).logits[:, -1] for turn in turns]
    return torch.cat(found)


def turns() -> list[dict[str, Any]]:
    """A picture and a question, a token, more text, another picture, two tokens."""
    first, more, second = one(), torch.tensor([[7, 8, 9]]), one()
    token = {"input_ids": torch.tensor([[5]])}
    given = [first, token, {"input_ids": more}, second, token, token]
    return [{name: part for name, part in turn.items() if name != "attention_mask"} for turn in given]


@pytest.mark.parametrize("method", [HIMAP, DivPrune(0.6)], ids=str)
def test_a_conversation_goes_on_as_on_a_dynamic_cache(model: PreTrainedModel, method: Method) -> None:
    """Also on a copy, and from the start on a cache that was emptied; where all layers hold all, or none does."""
    with prune(model, method):
        expected = logits(model, DynamicCache(), turns())
        cache = static(model, 128)
        torch.testing.assert_close(logits(model, cache, turns()[:3]), expected[:3])
        torch.testing.assert_close(logits(model, copy.deepcopy(cache), turns()[3:]), expected[3:])
        cache.reset()
        assert cache.get_seq_length() == 0
        torch.testing.assert_close(logits(model, cache, turns()), expected)


def test_it_goes_on_from_a_text_that_was_read_without_a_scope(model: PreTrainedModel) -> None:
    text = {"input_ids": torch.tensor([[1, 5, 6, 7]])}
    caches = static(model, 128), DynamicCache()
    for cache in caches:
        logits(model, cache, [text, turns()[1]])
    with prune(model, HIMAP):
        torch.testing.assert_close(*(logits(model, cache, turns()) for cache in caches))


def test_a_cache_of_which_nothing_was_dropped_serves_a_plain_model(model: PreTrainedModel) -> None:
    first, token, more = turns()[:3]
    expected = logits(model, DynamicCache(), [first, token, more])
    cache = static(model)
    with prune(model, HiMAP(2, 0.0, 4, 0.0)):
        found = [logits(model, cache, [first])]
    found.append(logits(model, cache, [token, more]))
    torch.testing.assert_close(torch.cat(found), expected)


def test_samples_are_reordered_with_what_is_held_of_them(model: PreTrainedModel) -> None:
    cache, (inputs, order) = static(model), (padded(), [1, 0])
    with prune(model, HIMAP), torch.no_grad():
        step = step_of(model, inputs, cache)
        other = copy.deepcopy(cache)
        expected = model(**(given := step())).logits
        other.reorder_cache(torch.tensor(order))
        given |= {name: given[name][order] for name in ("input_ids", "attention_mask", "position_ids")}
        torch.testing.assert_close(model(**given | {"past_key_values": other}).logits, expected[order])


def test_beams_are_those_of_a_dynamic_cache(model: PreTrainedModel) -> None:
    settings = {"max_new_tokens": 5, "do_sample": False, "num_beams": 3}
    with prune(model, HIMAP):
        expected = model.generate(**padded(), **settings)
        assert torch.equal(model.generate(**padded(), **settings, cache_implementation="static"), expected)


@pytest.mark.parametrize("model", [("llava", "eager")], ids="-".join, indirect=True)
def test_additive_masks_fit_as_well(model: PreTrainedModel) -> None:
    settings = {**SETTINGS, "max_new_tokens": 3}
    with prune(model, HIMAP):
        expected = model.generate(**padded(), **settings)
        agree(model.generate(**padded(), **settings, cache_implementation="static"), expected)


def test_a_pass_that_fails_leaves_the_cache_as_it_was(model: PreTrainedModel) -> None:
    cache = static(model)
    layers = list(cache.layers)
    fails = model.model.language_model.layers[3].register_forward_pre_hook(_fail)
    with prune(model, HIMAP):
        try:
            with pytest.raises(ZeroDivisionError):
                model(**one(), past_key_values=cache)
        finally:
            fails.remove()
        assert all(layer is before for layer, before in zip(cache.layers, layers, strict=True))
        expected = logits(model, DynamicCache(), turns()[:2])
        torch.testing.assert_close(logits(model, cache, turns()[:2]), expected)


def _fail(*_: object) -> None:
    raise ZeroDivisionError


# What is refused -----------------------------------------------------------------------------------------------------


def test_what_was_pruned_is_refused_without_a_scope(model: PreTrainedModel) -> None:
    cache = static(model)
    with prune(model, HIMAP):
        logits(model, cache, turns()[:1])
    with pytest.raises(UnsupportedUsageError, match="static KV cache was pruned"):
        logits(model, cache, turns()[1:2])
    with prune(model, VTW(1)):
        logits(model, cache, turns()[1:2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": 40}, "room for 40 tokens, and the sequence has 41: make it with a larger max_cache_len"),
        ({"offloading": True}, "an off-loaded static cache is not supported"),
    ],
    ids=["too-short", "off-loaded"],
)
def test_static_caches_that_cannot_be_right_are_refused(
    model: PreTrainedModel, settings: dict[str, Any], message: str
) -> None:
    inputs = batch_of([prompt(3, "image", 41 - 4 - one()["input_ids"].eq(IMAGE_TOKEN).sum().item())])
    with prune(model, HIMAP), pytest.raises(UnsupportedUsageError, match=message):
        model(**inputs, past_key_values=static(model, **settings))


def test_a_batch_of_another_size_is_refused(model: PreTrainedModel) -> None:
    cache = static(model)
    with prune(model, HIMAP):
        logits(model, cache, turns()[:1])
        with pytest.raises(UnsupportedUsageError, match="a batch of 1, not 2"):
            model(input_ids=torch.tensor([[5], [7]]), past_key_values=cache)


def test_windows_in_all_layers_are_refused_where_a_sequence_may_be_longer() -> None:
    entry, model = ZOO["mistral3"], model_of_family(ZOO["mistral3"])
    window = model.config.get_text_config().sliding_window
    inputs = entry.batch([entry.prompt(3, "image", 6)])
    with prune(model, HIMAP):
        model(**inputs, past_key_values=static(model, window - 1))
        with pytest.raises(UnsupportedUsageError, match="whose layers all have windows"):
            model(**inputs, past_key_values=static(model, window))


def test_other_masks_than_pairs_are_refused() -> None:
    model = model_of("llava-grouped", "flex_attention", torch.float32)
    with prune(model, HIMAP), pytest.raises(UnsupportedUsageError, match="flash and flex attention take no mask"):
        model.generate(**one(), max_new_tokens=2, cache_implementation="static")
