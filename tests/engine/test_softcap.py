"""Attention whose scores are capped before the softmax: Gemma 2, in PaliGemma 2."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tests.zoo import OTHER_TEXTS
from tests.zoo.oracles import logits_of, model_of
from visionflow import HiMAP, UnsupportedModelError, prune
from visionflow.core import AttentionRows, LayerAttention, Plan, Watch, contribution, find_tokens, log_sum_exp, paid
from visionflow.engines.hf.attention_functions import softcap_of
from visionflow.engines.hf.scope import Scope
from visionflow.flow import disrupt, picture_attention

PALIGEMMA_2 = OTHER_TEXTS["paligemma 2"]
INPUTS = PALIGEMMA_2.batch([PALIGEMMA_2.prompt(3, "image", 4, "image", 6), PALIGEMMA_2.prompt(5, "image", 7)])
CAP = 2.0


def test_every_row_is_that_of_the_layer() -> None:
    """Per head, as ``output_attentions`` of eager attention tells it; and the mean that the analyses read."""
    model = model_of(PALIGEMMA_2)
    found: list[Tensor] = []

    def look(attention: LayerAttention) -> None:
        assert attention.softcap == CAP
        rows = attention.rows(torch.ones_like(attention.tokens.valid))
        found.append(torch.cat([weights for _, _, weights in rows.heads()], 2))

    with Scope(model, Plan(watches=(Watch(range(6), look),))), torch.no_grad():
        told = model(**INPUTS, output_attentions=True).attentions
    for weights, expected in zip(found, told, strict=True):
        torch.testing.assert_close(weights, expected, rtol=0, atol=1e-6)
    read = picture_attention(model, INPUTS, "last")
    for sample, columns in enumerate(read.columns):
        expected = torch.stack([layer[sample, :, -1].mean(0)[columns] for layer in told])
        torch.testing.assert_close(read.image[sample], expected)


def capped(kv_heads: int = 2) -> tuple[AttentionRows, Tensor, Tensor]:
    """Rows of a causal prompt, its attention ``[heads, tokens, tokens]`` in fp64, and values."""
    generator = torch.Generator().manual_seed(0)
    tokens = find_tokens(torch.tensor([[5, 9, 9, 9, 5, 5]]), None, 9)
    query = torch.randn(1, 4, 6, 3, generator=generator) * 3
    key, value = (torch.randn(1, kv_heads, 6, 3, generator=generator) for _ in range(2))
    scores = query.double() @ key.double().repeat_interleave(4 // kv_heads, 1).transpose(2, 3)
    scores = CAP * torch.tanh(scores * 0.7 / CAP)
    whole = scores.masked_fill(torch.ones(6, 6).triu(1).bool(), -torch.inf).softmax(-1)[0]
    return AttentionRows(query, key, 0.7, None, *tokens.image.index(), tokens, softcap=CAP), whole, value


def test_the_kernel_that_knows_no_cap_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_sum_exp, "_WORTHWHILE", {"cpu": 1})
    rows, whole, _ = capped()
    expected = whole.mean(0)[1:4, 1:4].sum(1)
    torch.testing.assert_close(paid(rows, "image")[0, 1:4].double(), expected, rtol=1e-5, atol=1e-6)


def test_blocks_after_the_softmax_can_be_differentiated() -> None:
    model = PALIGEMMA_2.build().requires_grad_(False)
    pixels = INPUTS["pixel_values"].clone().requires_grad_()
    with disrupt(model, source="image", target="instruction", layers=range(3), mode="zero"):
        model(**{**INPUTS, "pixel_values": pixels}).logits[0, -1, 5].backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0


def test_contributions() -> None:
    rows, whole, value = capped()
    index, real = rows.tokens.last.index()
    last = replace(rows, index=index, real=real)
    parts = whole[:, -1, :, None] * value[0].double().repeat_interleave(2, 0)  # [heads, keys, head_dim]
    parts = parts.transpose(0, 1).flatten(1)
    shown, output = contribution(last, value), parts.sum(0)
    torch.testing.assert_close(shown.norm[0].double(), parts.norm(dim=1), rtol=1e-5, atol=1e-6)
    similarity = torch.nn.functional.cosine_similarity(output - parts, output.expand_as(parts))
    torch.testing.assert_close(shown.similarity[0].double(), similarity, rtol=1e-5, atol=1e-6)


@pytest.fixture
def not_compiled() -> Iterator[None]:
    """Flex attention as it is, without minutes of C++."""
    torch.compiler.set_stance("force_eager")
    yield
    torch.compiler.set_stance("default")


@pytest.mark.slow
@pytest.mark.usefixtures("not_compiled")
def test_flex_attention_keeps_what_eager_keeps() -> None:
    eager, flex = model_of(PALIGEMMA_2), model_of(PALIGEMMA_2, "flex_attention")
    kept = []
    for model in (eager, flex):
        with prune(model, HiMAP(2, 0.5, 4, 0.75)) as trace:
            logits_of(model, PALIGEMMA_2.batch([PALIGEMMA_2.prompt(3, "image", 6)]))
        kept.append([stage.kept[0].tolist() for stage in trace.stages])
    assert kept[0] == kept[1]


def names_it(*args: Any, softcap: float | None = None, **options: Any) -> None:
    """Any attention function that knows what a cap is."""


def passes_over_it(*args: Any, **options: Any) -> None:
    """One that may or may not."""


@pytest.mark.parametrize(
    ("softcap", "attend", "heeded"),
    [(CAP, names_it, CAP), (None, passes_over_it, None), (CAP, ALL_ATTENTION_FUNCTIONS["sdpa"], None)],
    ids=["named", "no-cap", "sdpa-has-none"],
)
def test_the_cap_is_that_of_the_function_that_runs(
    softcap: float | None, attend: Callable[..., Any], heeded: float | None
) -> None:
    assert softcap_of(softcap, attend) == heeded


def test_a_function_that_does_not_say_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="'passes_over_it' does not say whether it caps scores"):
        softcap_of(CAP, passes_over_it)
