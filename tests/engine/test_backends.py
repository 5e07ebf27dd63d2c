"""Attention implementations with other masks than sdpa's: flex attention, and flash attention as a stand-in here."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers import modeling_flash_attention_utils as transformers_flash
from transformers.masking_utils import AttentionMaskInterface, flash_attention_mask
from transformers.modeling_flash_attention_utils import _is_packed_sequence
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tests.exact import EXACTLY
from tests.matrix import METHODS, AboveAverage, Merging, in_turns, model_of, prompts, quick_or_slow
from tests.reference import Keep
from tests.tiny import Prompt, batch_of, prompt, tiny_llava
from visionflow import VTW, FastV, HiMAP, Method, UnsupportedModelError, UnsupportedUsageError, VisiPruner, prune
from visionflow.core import Block, Plan
from visionflow.engines.hf.scope import Scope
from visionflow.methods import DivPrune, PyramidDrop

FLASH = "plain_flash_attention"
HIMAP = HiMAP(2, 0.5, 4, 0.75)
CUTTING = [
    HIMAP,
    HiMAP(2, 0.25, 5, 0.5, exclude_self=True),
    FastV(2, 0.5),
    VTW(3),
    AboveAverage(2),
    PyramidDrop((0, 3)),
]
CUTTING += [DivPrune(0.5), Merging((0, 3), 0.4)]
DEEP_ONLY = VisiPruner(2, 0.85, 0.3, 0.97, exit_patience=1, phases=("middle", "deep"))
SHALLOW = VisiPruner(2, 0.85, 0.3, 0.97, exit_patience=1)
FLASHING = [*CUTTING, DEEP_ONLY]
flash_methods = pytest.mark.parametrize("method", FLASHING, ids=str)


def plain_flash_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    is_causal: bool | None = None,
    position_ids: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What `flash_attention_forward` computes, in plain torch: one sequence after the other, without its padding.

    Like the original it takes a 2-D mask of keys or None, aligns the causal triangle with the last row and key, looks
    up its own name in the module's config, and takes positions with gaps in a batch of one for several sequences.
    """
    config: Any = module.config
    assert config._attn_implementation == FLASH
    assert attention_mask is None or (attention_mask.shape == (key.shape[0], key.shape[2]))
    assert sliding_window is None
    rows, keys = query.shape[2], key.shape[2]
    if attention_mask is None and _is_packed_sequence(position_ids, len(query)):
        raise AssertionError("one sample is taken for several")
    mask = torch.ones(len(query), keys, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
    output = query.new_zeros(len(query), rows, query.shape[1], value.shape[3])
    for sample, real in enumerate(mask):
        alone = rows == 1 or attention_mask is None
        running = torch.ones(rows, dtype=torch.bool) if alone else real[-rows:]
        q, k, v = query[sample, :, running], key[sample, :, real], value[sample, :, real]
        k, v = (states.repeat_interleave(len(q) // len(states), 0) for states in (k, v))
        scores = q @ k.transpose(1, 2) * (query.shape[3] ** -0.5 if scaling is None else scaling)
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        if module.is_causal if is_causal is None else is_causal:
            triangle = torch.ones(scores.shape[1:], dtype=torch.bool).tril(k.shape[1] - q.shape[1])
            scores = scores.masked_fill(~triangle, -torch.inf)
        output[sample, running] = (scores.softmax(-1) @ v).transpose(0, 1)
    return output, None


@pytest.fixture
def flash() -> Iterator[PreTrainedModel]:
    """A model whose text runs on the stand-in."""
    AttentionInterface.register(FLASH, plain_flash_attention)
    AttentionMaskInterface.register(FLASH, flash_attention_mask)
    yield tiny_llava(2, FLASH, torch.float64)
    del AttentionInterface._global_mapping[FLASH], AttentionMaskInterface._global_mapping[FLASH]


def plain_kernel(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
) -> Tensor:
    """flash-attn's `flash_attn_func` on ``[batch, tokens, heads, head_dim]``: the triangle ends in the last corner."""
    assert window_size == (-1, -1)
    assert not softcap
    q, k, v = (states.transpose(1, 2) for states in (q, k, v))
    triangle = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2]) if causal else None
    attend = torch.nn.functional.scaled_dot_product_attention
    return attend(q, k, v, triangle, scale=softmax_scale, enable_gqa=True).transpose(1, 2)


def plain_varlen_kernel(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
) -> Tensor:
    """flash-attn's `flash_attn_varlen_func`: sequences that lie one after the other."""
    rows, keys = cu_seqlens_q.diff().tolist(), cu_seqlens_k.diff().tolist()
    parts = zip(q.split(rows), k.split(keys), v.split(keys), strict=True)
    options = {"softmax_scale": softmax_scale, "causal": causal, "window_size": window_size, "softcap": softcap}
    return torch.cat([plain_kernel(*(states[None] for states in part), **options)[0] for part in parts])


@pytest.fixture
def flash2(monkeypatch: pytest.MonkeyPatch) -> PreTrainedModel:
    """A model on transformers' own flash_attention_2, all of it but the two kernels."""
    kernels = (plain_kernel, plain_varlen_kernel, None, transformers_flash._pad_input, transformers_flash._unpad_input)

    def load(implementation: str | None, *args: Any, **kwargs: Any) -> Any:
        assert implementation == "flash_attention_2"
        return kernels

    monkeypatch.setattr(transformers_flash, "_lazy_imports", load)
    monkeypatch.setattr(transformers_flash, "_loaded_implementation", None)
    model = tiny_llava(2, dtype=torch.float64)
    model.config.text_config._attn_implementation = "flash_attention_2"
    return model


@pytest.fixture
def flex() -> Iterator[PreTrainedModel]:
    """A model on flex attention, not compiled: the same function, without minutes of C++."""
    torch.compiler.set_stance("force_eager")
    yield tiny_llava(2, "flex_attention", torch.float64)
    torch.compiler.set_stance("default")


BATCHES = {
    "one": [prompt(3, "image", 6)],
    "equal": [prompt(3, "image", 6), prompt(3, "image", 6, seed=4)],
    "padded": prompts(),
    "picture first": [Prompt(prompt("image", 6).ids[1:], prompt("image", 6).pictures)],
}


KINDS = [(batch,) for batch in BATCHES]
ONE, PADDED = [("one",)], [("padded",)]
"""What the methods take turns with, the other way about for each of the two kernels."""


def same_as_sdpa(model: PreTrainedModel, method: Method, samples: list[Prompt], side: str = "left") -> None:
    """Logits of the real tokens, kept tokens and generated tokens are those of sdpa, which has its own oracles."""
    other = model_of("llava-grouped")
    inputs = batch_of(samples, side)
    real = inputs["attention_mask"].bool()
    with prune(model, method) as trace, prune(other, method) as expected, torch.no_grad():
        one, two = model(**inputs).logits, other(**inputs).logits
        torch.testing.assert_close(one[real], two[real], **EXACTLY)
        for stage, wanted in zip(trace.stages, expected.stages, strict=True):
            assert [kept.tolist() for kept in stage.kept] == [kept.tolist() for kept in wanted.kept]
        if side == "left":
            settings: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False}
            assert torch.equal(model.generate(**inputs, **settings), other.generate(**inputs, **settings))
    assert not any(name.startswith("visionflow_") for name in ALL_ATTENTION_FUNCTIONS)


@in_turns("batch", KINDS, [ONE, PADDED], FLASHING)
def test_flash_equals_sdpa(flash: PreTrainedModel, method: Method, batch: str) -> None:
    same_as_sdpa(flash, method, BATCHES[batch])


@in_turns("batch", KINDS, [PADDED, ONE], FLASHING)
def test_flash_attention_2_equals_sdpa(flash2: PreTrainedModel, method: Method, batch: str) -> None:
    same_as_sdpa(flash2, method, BATCHES[batch])


QUESTIONS = [prompt(3, "image", 6), prompt(3, "image", 9, seed=5), prompt(3, "image", 1, seed=2)]
BEGINNINGS = [prompt(3, "image", 6), prompt(20, "image", 12, seed=5), prompt(2, "image", "image", 3, seed=2)]


@pytest.mark.parametrize("samples", [BATCHES["one"], BATCHES["equal"], QUESTIONS], ids=["one", "equal", "questions"])
@pytest.mark.parametrize("backend", ["flash", "flash2"])
def test_tokens_leave_the_picture_out_without_a_mask(
    backend: str, samples: list[Prompt], request: pytest.FixtureRequest
) -> None:
    for side in ("left", "right"):
        same_as_sdpa(request.getfixturevalue(backend), SHALLOW, samples, side)


@pytest.mark.parametrize("backend", ["flash", "flash2"])
def test_text_leaves_the_picture_out_which_reads_itself(backend: str, request: pytest.FixtureRequest) -> None:
    method = replace(SHALLOW, shallow_image_to_image=True)
    for samples in (BATCHES["picture first"], BEGINNINGS):
        same_as_sdpa(request.getfixturevalue(backend), method, samples)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (BATCHES["padded"], "text between pictures is kept from reading them by a mask"),
        (BEGINNINGS, "samples with pictures or beginnings of other lengths are told by a mask"),
        (BATCHES["picture first"], "are left with nothing to read"),
    ],
    ids=["text-between", "beginnings", "nothing-to-read"],
)
def test_what_takes_a_mask_of_pairs_is_refused_under_flash(
    flash: PreTrainedModel, samples: list[Prompt], message: str
) -> None:
    with prune(flash, SHALLOW), pytest.raises(UnsupportedUsageError, match=message):
        flash(**batch_of(samples))


@pytest.mark.parametrize("method", [*CUTTING, DEEP_ONLY, SHALLOW], ids=str)
@pytest.mark.parametrize("batch", ["one", "equal"])
def test_flash_attention_2_unpads_nothing_where_all_samples_are_as_long(
    flash2: PreTrainedModel, method: Method, batch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it look for packed sequences in positions with gaps: both would wait for the device in each layer."""
    unpadded: list[int] = []
    upad = transformers_flash._upad_input
    monkeypatch.setattr(
        transformers_flash, "_upad_input", lambda *given: (unpadded.append(len(given[0])), upad(*given))[1]
    )
    with prune(flash2, method) as trace, torch.no_grad():
        flash2.generate(**batch_of(BATCHES[batch]), max_new_tokens=2, do_sample=False)
    if all(len({*stage.tokens.image.counts}) == 1 for stage in trace.stages):
        assert not unpadded


@flash_methods
def test_flash_attention_2_equals_sdpa_with_padding_on_the_right(flash2: PreTrainedModel, method: Method) -> None:
    same_as_sdpa(flash2, method, prompts(), "right")


@flash_methods
def test_flash_equals_sdpa_with_padding_on_the_right(flash: PreTrainedModel, method: Method) -> None:
    same_as_sdpa(flash, method, prompts(), "right")


@pytest.mark.parametrize("method", quick_or_slow(METHODS, [HIMAP, METHODS[-1]]), ids=str)
def test_flex_equals_sdpa(flex: PreTrainedModel, method: Method) -> None:
    same_as_sdpa(flex, method, BATCHES["padded"])


@pytest.mark.parametrize("method", [HIMAP, METHODS[-1]], ids=str)
@pytest.mark.parametrize("batch", ["one", "equal"])
def test_flex_equals_sdpa_without_padding(flex: PreTrainedModel, method: Method, batch: str) -> None:
    same_as_sdpa(flex, method, BATCHES[batch])


@pytest.mark.parametrize("backend", ["flash", "flash2", "flex"])
def test_the_model_is_restored(backend: str, request: pytest.FixtureRequest) -> None:
    model, inputs = request.getfixturevalue(backend), batch_of(prompts())
    with torch.no_grad():
        expected = model(**inputs).logits
        with prune(model, HIMAP):
            assert not torch.equal(model(**inputs).logits, expected)
        assert torch.equal(model(**inputs).logits, expected)


@pytest.mark.parametrize("backend", ["flash", "flash2", "flex"])
def test_a_second_turn(backend: str, request: pytest.FixtureRequest) -> None:
    """It equals one run over both turns without a cache and with the same tokens kept."""
    model, inputs = request.getfixturevalue(backend), batch_of(BATCHES["equal"])
    more = torch.arange(3, 10).expand(2, -1)
    with prune(model, HIMAP) as trace, torch.no_grad():
        cache = model(**inputs).past_key_values
        second = model(input_ids=more, past_key_values=cache).logits
    ids = torch.cat([inputs["input_ids"], more], 1)
    with prune(model, Keep.of(trace, HIMAP)), torch.no_grad():
        whole = model(input_ids=ids, pixel_values=inputs["pixel_values"], use_cache=False).logits
    torch.testing.assert_close(second, whole[:, -7:], **EXACTLY)


@pytest.mark.parametrize("backend", ["flash", "flash2", "flex"])
def test_a_second_turn_that_brings_a_picture(backend: str, request: pytest.FixtureRequest) -> None:
    """Rows with gaps in their positions read what the cache holds as well."""
    first, second = prompt(3, "image", 6).inputs, prompt(4, "image", 5, seed=8).inputs
    del second["attention_mask"]
    logits = []
    for model in (request.getfixturevalue(backend), tiny_llava(2, dtype=torch.float64)):
        with prune(model, FastV(2, 0.5)), torch.no_grad():
            cache = model(**first).past_key_values
            logits.append(model(**second, past_key_values=cache).logits)
    torch.testing.assert_close(logits[0], logits[1], **EXACTLY)


def test_flash_does_not_block_by_masks(flash: PreTrainedModel) -> None:
    """Only what can be left out of the keys of all rows that are run together."""
    with pytest.raises(UnsupportedUsageError, match="forbids single tokens"):
        Scope(flash, Plan(blocks=(Block((0,), "image", "image", "skip"),)))
    with pytest.raises(UnsupportedUsageError, match="forbids single tokens"):
        Scope(flash, Plan(blocks=(Block((0,), "image", "instruction", "renormalise"),)))


def test_flash_does_not_count_windows(flash: PreTrainedModel) -> None:
    flash.config.text_config.sliding_window = 8
    with pytest.raises(UnsupportedModelError, match="windows"):
        prune(flash, HIMAP)


def test_masks_of_an_unknown_kind_are_refused() -> None:
    AttentionInterface.register(FLASH, plain_flash_attention)
    try:
        with pytest.raises(UnsupportedModelError, match=f"{FLASH}.*a way of its own"):
            prune(tiny_llava(2, FLASH, torch.float64), HIMAP)
    finally:
        del AttentionInterface._global_mapping[FLASH]
