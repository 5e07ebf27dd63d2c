"""A pruned KV cache on its way: copied, saved, its samples moved, asked many questions, inside a scope and outside."""

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from tests.matrix import METHODS, PLACED, in_turns, methods, model_of, prompts
from tests.reference import Keep
from tests.tiny import PAD, Prompt, batch_of, positions, prompt
from tests.zoo import ZOO
from tests.zoo.oracles import methods_of
from tests.zoo.oracles import model_of as model_of_family
from visionflow import VTW, FastV, HiMAP, Method, UnsupportedUsageError, prune
from visionflow.flow import withhold

HIMAP = HiMAP(2, 0.5, 4, 0.75)


@pytest.fixture
def exact() -> PreTrainedModel:
    """In fp64: batches of another size are computed in another order."""
    return model_of("llava-grouped", "sdpa", torch.float64)


@torch.no_grad()
def read(model: PreTrainedModel, inputs: dict[str, Any]) -> DynamicCache:
    """The cache of a prompt."""
    cache: DynamicCache = model(**inputs, position_ids=positions(inputs)).past_key_values
    return cache


@torch.no_grad()
def go_on(model: PreTrainedModel, cache: DynamicCache, mask: Tensor, *more: int) -> Tensor:
    """Logits of some more tokens, the same for each sample, after a prompt with this attention mask."""
    ids = torch.tensor(more).expand(len(mask), -1)
    mask = torch.cat([mask, torch.ones_like(ids)], 1)
    place = (mask.cumsum(1) - 1)[:, -len(more) :]
    logits: Tensor = model(
        input_ids=ids, attention_mask=mask, position_ids=place, past_key_values=cache, use_cache=True
    ).logits
    return logits


def saved(cache: DynamicCache) -> Any:
    """What is loaded again."""
    file = io.BytesIO()
    torch.save(cache, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


# Copies ------------------------------------------------------------------------------------------------------------


@methods
def test_a_copy_goes_on_as_the_cache_does(model: PreTrainedModel, method: Method) -> None:
    """In the scope that made it and in any other, after that one."""
    inputs = batch_of(prompts())
    mask = inputs["attention_mask"]
    with prune(model, method):
        cache = read(model, inputs)
        copies = [copy.deepcopy(cache), saved(cache)]
        later = [copy.deepcopy(cache), saved(cache)]
        expected = go_on(model, cache, mask, 5, 7)
        assert all(torch.equal(go_on(model, each, mask, 5, 7), expected) for each in copies)
    with prune(model, VTW(1)):
        assert all(torch.equal(go_on(model, each, mask, 5, 7), expected) for each in later)


@pytest.mark.parametrize("name", ["gemma3", "gemma3n", "qwen2_5_vl", "llama4"])
def test_caches_of_other_families_are_copied_and_repeated(name: str) -> None:
    """Windows, layers that read the keys of others, several axes of positions, windows of a set place."""
    model, entry = model_of_family(ZOO[name]), ZOO[name]
    inputs = entry.batch([entry.prompt(3, "image", 6)])
    settings = {"max_new_tokens": 3, "do_sample": False}
    with prune(model, methods_of(entry)[0]) as trace:
        made = model.generate(**inputs, **settings, return_dict_in_generate=True)
        assert trace.image_tokens[-1] < trace.image_tokens[0]
        ids, cache = torch.cat([made.sequences, torch.tensor([[5, 7]])], 1), made.past_key_values
        copies = [copy.deepcopy(cache) for _ in range(2)]
        copies[1].batch_repeat_interleave(2)
        expected = model.generate(ids, past_key_values=cache, **settings)
        assert torch.equal(model.generate(ids, past_key_values=copies[0], **settings), expected)
        both = model.generate(ids.expand(2, -1), past_key_values=copies[1], **settings)
        assert torch.equal(both, expected.expand(2, -1))


def test_a_cache_without_a_config_lacks_the_layers_that_keep_no_keys() -> None:
    model, entry = model_of_family(ZOO["gemma3n"]), ZOO["gemma3n"]
    inputs = entry.batch([entry.prompt(3, "image", 6)])
    with prune(model, methods_of(entry)[0]):
        expected = model.generate(**inputs, max_new_tokens=3, do_sample=False)
        made = model.generate(**inputs, max_new_tokens=3, do_sample=False, past_key_values=DynamicCache())
    assert torch.equal(made, expected)


# Samples that are moved --------------------------------------------------------------------------------------------


MOVES: dict[str, tuple[Callable[[DynamicCache], None], list[int]]] = {
    "repeat": (lambda cache: cache.batch_repeat_interleave(2), [0, 0, 1, 1, 2, 2, 3, 3]),
    "select": (lambda cache: cache.batch_select_indices(torch.tensor([3, 1])), [3, 1]),
    "reorder": (lambda cache: cache.reorder_cache(torch.tensor([2, 0, 0, 1])), [2, 0, 0, 1]),
}


@in_turns("move", [(move,) for move in MOVES], [[(move,)] for move in MOVES], METHODS)
def test_samples_are_moved_with_what_is_held_of_them(exact: PreTrainedModel, method: Method, move: str) -> None:
    inputs = batch_of(prompts())
    mask, (moved, rows) = inputs["attention_mask"], MOVES[move]
    with prune(exact, method):
        cache = read(exact, inputs)
        expected = go_on(exact, copy.deepcopy(cache), mask, 5, 7)
        shared = len({id(layer.layout) for layer in cache.layers})
        moved(cache)
        assert len({id(layer.layout) for layer in cache.layers}) == shared  # and so are masks
        torch.testing.assert_close(go_on(exact, cache, mask[rows], 5, 7), expected[rows])


def test_a_cache_for_another_batch_is_refused(model: PreTrainedModel) -> None:
    with prune(model, HIMAP):
        cache = read(model, prompt(3, "image", 6).inputs)
        with pytest.raises(UnsupportedUsageError, match="a batch of 1, not 2: repeat it"):
            model(input_ids=torch.tensor([[5], [7]]), past_key_values=cache)


# One picture, many questions ---------------------------------------------------------------------------------------


def asked(prefix: Prompt, questions: list[Prompt]) -> dict[str, Any]:
    """Ids and mask of a batch: the prefix, padding, a question."""
    width = max(len(question.ids) for question in questions)
    rows = [prefix.ids + [PAD] * (width - len(question.ids)) + question.ids for question in questions]
    mask = [
        [1] * len(prefix.ids) + [0] * (width - len(question.ids)) + [1] * len(question.ids) for question in questions
    ]
    return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(mask)}


@methods
def test_one_picture_many_questions(exact: PreTrainedModel, method: Method) -> None:
    """Each answer is that of the whole prompt, read in one piece with the image tokens that the common part kept."""
    prefix, settings = prompt(3, "image", 4), {"max_new_tokens": 4, "do_sample": False}
    questions = [prompt(length, seed=20 + length) for length in (1, 6, 3)]
    with prune(exact, method) as trace:
        cache = read(exact, prefix.inputs)
        alone = []
        for question in questions:
            turn = asked(prefix, [question])
            made = exact.generate(**turn, **settings, past_key_values=copy.deepcopy(cache))
            alone.append(made[0, -4:].tolist())
        cache.batch_repeat_interleave(len(questions))
        together = exact.generate(**asked(prefix, questions), **settings, past_key_values=cache)[:, -4:].tolist()
    assert together == alone
    with prune(exact, Keep.of(trace, method)):
        for question, answer in zip(questions, alone, strict=True):
            whole = Prompt(prefix.ids + question.ids, prefix.pictures)
            assert exact.generate(**whole.inputs, **settings, use_cache=False)[0, -4:].tolist() == answer


# Outside -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [*PLACED, None], ids=str)
def test_single_tokens_go_on_without_a_scope_where_nothing_is_padded(
    model: PreTrainedModel, method: Method | None
) -> None:
    """sdpa takes no mask for them, and reads what there is."""
    inputs = prompt(3, "image", 6).inputs
    with prune(model, method) if method else withhold(model, [0, 3]), torch.no_grad():
        cache = read(model, inputs)
        outside = copy.deepcopy(cache)
        expected = [go_on(model, cache, inputs["attention_mask"], 5), model(torch.tensor([[7]]), past_key_values=cache)]
    assert torch.equal(go_on(model, outside, inputs["attention_mask"], 5), expected[0])
    with torch.no_grad():
        assert torch.equal(model(torch.tensor([[7]]), past_key_values=outside).logits, expected[1].logits)


def same_length() -> list[Prompt]:
    """One picture against two: no padding, and fillers after the cut."""
    return [prompt(3, "image", 40), prompt(3, "image", 7, "image", 8, seed=2)]


def test_fillers_are_read_by_no_answer_though_nothing_is_padded(exact: PreTrainedModel) -> None:
    """sdpa takes no mask for a single token then, and is given one."""
    both, more = same_length(), torch.tensor([[5], [5]])
    with torch.no_grad(), prune(exact, HIMAP):
        caches = [exact(**inputs).past_key_values for inputs in (batch_of(both), *(each.inputs for each in both))]
        together, *alone = (
            exact(input_ids=more[: len(cache.layers[0].keys)], past_key_values=cache).logits for cache in caches
        )
    torch.testing.assert_close(together, torch.cat(alone))


@pytest.mark.parametrize(
    ("attention", "samples", "more"),
    [
        ("sdpa", prompts()[:1], (5, 7)),
        ("sdpa", prompts(), (5,)),
        ("sdpa", same_length(), (5,)),
        ("eager", prompts()[:1], (5,)),
    ],
    ids=["several tokens", "padding", "fillers", "eager"],
)
def test_what_needs_a_scope_says_so_and_leaves_the_cache_alone(
    attention: str, samples: list[Prompt], more: tuple[int, ...]
) -> None:
    model, inputs = model_of("llava-grouped", attention), batch_of(samples)
    mask = inputs["attention_mask"]
    with prune(model, HIMAP):
        cache = read(model, inputs)
        expected = go_on(model, copy.deepcopy(cache), mask, *more)
    with pytest.raises(UnsupportedUsageError, match="go on inside a pruning scope"):
        go_on(model, cache, mask, *more)
    with prune(model, FastV(3, 0.5)):
        assert torch.equal(go_on(model, cache, mask, *more), expected)


def test_equally_padded_samples_need_a_scope(model: PreTrainedModel) -> None:
    """There are no fillers, but a mask."""
    inputs = batch_of([prompt(3, "image", 6), prompt(9, seed=4), prompt(3, "image", 9)])
    inputs = {name: value[[0]] if name != "pixel_values" else value[:1] for name, value in inputs.items()}
    assert not inputs["attention_mask"].all()
    with prune(model, HIMAP):
        cache = read(model, inputs)
    with pytest.raises(UnsupportedUsageError, match="go on inside a pruning scope"):
        go_on(model, cache, inputs["attention_mask"], 5)


# What a cache has been through -------------------------------------------------------------------------------------


def test_a_cache_built_anew_from_its_tensors_is_refused(model: PreTrainedModel) -> None:
    """Nothing tells which keys are there."""
    with prune(model, HIMAP):
        cache = read(model, prompt(3, "image", 6).inputs)
        rebuilt = DynamicCache([(layer.keys, layer.values) for layer in cache.layers])
        with pytest.raises(UnsupportedUsageError, match="rebuilt outside"):
            model(input_ids=torch.tensor([[5]]), past_key_values=rebuilt)


def test_a_cache_of_a_failed_pass_is_refused(model: PreTrainedModel) -> None:
    inputs, cache = prompt(3, "image", 6).inputs, DynamicCache()

    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory, say")

    handle = model.model.language_model.layers[4].mlp.register_forward_hook(fail)
    with prune(model, HIMAP):
        with pytest.raises(RuntimeError, match="out of memory"):
            model(**inputs, past_key_values=cache)
        handle.remove()
        with pytest.raises(UnsupportedUsageError, match="left by a pass that failed"):
            model(input_ids=torch.tensor([[5]]), past_key_values=cache)


@pytest.mark.parametrize("layers", [[], [0, 3]], ids=["cut", "withheld"])
def test_a_cache_that_was_reset_starts_anew(model: PreTrainedModel, layers: list[int]) -> None:
    inputs = prompt(3, "image", 6).inputs
    with withhold(model, layers) if layers else prune(model, HIMAP):
        cache = read(model, batch_of(prompts()))
        cache.reset()
        if cache.layers[1].is_initialized:
            pytest.skip("this transformers fills a cache that is reset with zeros")
        expected = go_on(model, read(model, inputs), inputs["attention_mask"], 5)
        with torch.no_grad():
            model(**inputs, past_key_values=cache)
        assert torch.equal(go_on(model, cache, inputs["attention_mask"], 5), expected)


def test_a_cache_that_was_cropped_to_nothing_starts_anew(exact: PreTrainedModel) -> None:
    with prune(exact, HIMAP), torch.no_grad():
        cache = read(exact, prompt(3, "image", 6).inputs)
        cache.crop(-cache.get_seq_length())
        for ids in (torch.tensor([[1, 5, 7]]), torch.tensor([[9]])):
            logits = exact(ids, past_key_values=cache).logits
        expected = exact(torch.tensor([[1, 5, 7, 9]]), use_cache=False).logits
    torch.testing.assert_close(logits[:, -1], expected[:, -1])
