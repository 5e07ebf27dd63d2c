"""Several samples packed in one row are refused; positions of one sample are not taken for it, however they look."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.matrix import prompts
from tests.tiny import batch_of, positions, prompt
from tests.zoo import ZOO
from tests.zoo.oracles import model_of
from visionflow import FastV, HiMAP, UnsupportedUsageError, prune
from visionflow.core import find_tokens
from visionflow.engines.hf.guards import check_unpacked
from visionflow.flow import picture_attention

FIRST, SECOND = prompt(3, "image", 6), prompt(5, "image", 7, seed=2)
METHOD = FastV(2, 0.5)


def packed(start: int = 0) -> dict[str, Any]:
    """Both samples in one row, the positions of the second from `start` on, and no mask."""
    counts = [torch.arange(len(FIRST.ids)), torch.arange(len(SECOND.ids)) + start]
    pixels = torch.cat([FIRST.pictures, SECOND.pictures])
    return {
        "input_ids": torch.tensor([FIRST.ids + SECOND.ids]),
        "position_ids": torch.cat(counts)[None],
        "pixel_values": pixels,
    }


def test_the_dense_model_tells_them_apart(model: PreTrainedModel) -> None:
    """Which is why one row is not one sample."""
    with torch.no_grad():
        logits = model(**packed(), use_cache=False).logits[0]
        alone = [model(**sample.inputs).logits[0] for sample in (FIRST, SECOND)]
    torch.testing.assert_close(logits, torch.cat(alone), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("start", [0, 1, 60])
@pytest.mark.parametrize("options", [{}, {"use_cache": False}], ids=str)
def test_packed_samples_are_refused(model: PreTrainedModel, start: int, options: dict[str, Any]) -> None:
    with prune(model, METHOD), pytest.raises(UnsupportedUsageError, match="packed in one row"):
        model(**packed(start), **options)
    with pytest.raises(UnsupportedUsageError, match="packed in one row"):
        picture_attention(model, packed(start))
    lengths = torch.tensor([0, len(FIRST.ids), len(FIRST.ids) + len(SECOND.ids)], dtype=torch.int32)
    plain = {name: value for name, value in packed().items() if name != "position_ids"}
    with prune(model, METHOD), pytest.raises(UnsupportedUsageError, match="packed in one row"):
        model(**plain, cu_seq_lens_q=lengths, cu_seq_lens_k=lengths)


def test_flash_attention_looks_at_positions_beside_a_mask() -> None:
    """Of real tokens: those of the padding are anything."""
    mask = torch.tensor([[0, 0, 1, 1, 1, 1]])
    tokens = find_tokens(torch.tensor([[0, 0, 5, 99, 5, 6]]), mask, 99)
    for counted, packed_ in (([1, 1, 0, 1, 2, 3], False), ([1, 1, 0, 1, 0, 1], True)):
        call = {"position_ids": torch.tensor([counted]), "attention_mask": mask}
        check_unpacked(call, tokens, masks_tell=True)
        with pytest.raises(UnsupportedUsageError, match="packed") if packed_ else nullcontext():
            check_unpacked(call, tokens, masks_tell=False)


def test_packed_text_is_let_be(model: PreTrainedModel) -> None:
    inputs = {"input_ids": torch.tensor([FIRST.ids[:4] * 2]), "position_ids": torch.arange(4).repeat(2)[None]}
    with torch.no_grad():
        expected = model(**inputs, use_cache=False).logits
        with prune(model, METHOD):
            assert torch.equal(model(**inputs, use_cache=False).logits, expected)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("filler", [0, 1])
def test_positions_of_a_padded_batch_are_no_packing(model: PreTrainedModel, side: str, filler: int) -> None:
    inputs = batch_of(prompts(), side)
    counted = positions(inputs).masked_fill(inputs["attention_mask"] == 0, filler)
    with torch.no_grad(), prune(model, METHOD) as trace:
        model(**inputs, position_ids=counted)
        assert [len(kept) for kept in trace.stages[0].kept] == [13, 25, 0, 13]


@pytest.mark.parametrize("first", [0, 1, 7])
def test_one_sample_may_start_anywhere(model: PreTrainedModel, first: int) -> None:
    inputs = {name: value for name, value in FIRST.inputs.items() if name != "attention_mask"}
    with torch.no_grad(), prune(model, METHOD) as trace:
        model(**inputs, position_ids=torch.arange(first, first + len(FIRST.ids))[None], use_cache=False)
        assert len(trace.stages[0].kept[0]) == 13


@pytest.mark.parametrize("name", ["qwen2_5_vl", "glm4v_moe", "hunyuan_vl", "ernie4_5_vl_moe"])
def test_positions_with_several_axes(name: str) -> None:
    """Those that the class makes are no packing, with or without a row of text positions; two samples of them are."""
    entry, seen = ZOO[name], []
    model = model_of(entry)

    def note(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        seen.append(kwargs["position_ids"])

    inputs = entry.batch([entry.prompt(3, "image", 4, "wide", 6)])
    handle = model.model.language_model.register_forward_pre_hook(note, with_kwargs=True)
    with torch.no_grad():
        model(**inputs)
    handle.remove()
    axes: Tensor = seen[0]
    assert axes.dim() == 3
    forms = [axes]
    if name == "qwen2_5_vl":  # a row of text positions before its three axes, as generate makes them
        forms.append(torch.cat([torch.arange(axes.shape[2]).view(1, 1, -1), axes[-3:]]))
    once = {key: value for key, value in inputs.items() if key != "attention_mask"}
    twice = once | {"input_ids": inputs["input_ids"].repeat(1, 2)}
    for form in forms:
        with torch.no_grad(), prune(model, HiMAP(2, 0.5, 4, 0.75)) as trace:
            model(**once, position_ids=form)
            assert len(trace.stages[0].kept[0]) > 0
            with pytest.raises(UnsupportedUsageError, match="packed in one row"):
                model(**twice, position_ids=form.repeat(1, 1, 2))
