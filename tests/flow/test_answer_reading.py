"""What is taken as an answer is generated, against eager attention and against the analyses of a whole prompt."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.exact import ROUNDED
from tests.matrix import model_of
from tests.tiny import LAYERS, PER_IMAGE, batch_of, prompt
from tests.zoo import ZOO
from visionflow import VTW, FastV, HiMAP, Method, UnsupportedUsageError, VisiPruner
from visionflow.core import Plan
from visionflow.engines.hf.scope import Scope
from visionflow.flow import logit_lens, picture_attention
from visionflow.flow.answer_reading import AnswerReading
from visionflow.flow.lengths import tokens_of

NEW = 4
PROMPT = prompt(5, "image", 6)
METHODS: dict[str, Method | None] = {
    "dense": None,
    "himap": HiMAP(2, 0.5, 4, 0.75),
    "fastv": FastV(2, 0.5),
    "vtw": VTW(3),
    "visipruner": VisiPruner(2, layer_threshold=0.9, token_threshold=0.5, phases=("middle", "deep")),
}


def read(model: PreTrainedModel, method: Method | None, **more: Any) -> tuple[AnswerReading, Any]:
    reading = AnswerReading(model, tokens_of(model, PROMPT.inputs))
    plan = Plan() if method is None else method.plan()
    with torch.no_grad(), Scope(model, reading.watching(plan)), reading.during():
        out = model.generate(**PROMPT.inputs, max_new_tokens=NEW, do_sample=False, return_dict_in_generate=True, **more)
    return reading, out


@pytest.fixture(scope="module")
def double() -> PreTrainedModel:
    return model_of("llava-grouped", "eager", torch.float64)


@pytest.mark.parametrize("name", METHODS)
def test_rows_are_those_of_eager_attention_step_by_step(name: str, double: PreTrainedModel) -> None:
    """Of what a layer holds, all is told, and the rest is NaN."""
    reading, out = read(double, METHODS[name], output_attentions=True)
    rows = reading.rows(out.past_key_values)
    assert rows.shape == (NEW, LAYERS, len(PROMPT.ids) + NEW - 1)
    for step in range(NEW):
        for layer in range(LAYERS):
            mine = rows[step, layer][~rows[step, layer].isnan()]
            expected = out.attentions[step][layer][0].mean(0)[-1]
            torch.testing.assert_close(mine, expected.float(), **ROUNDED)
    torch.testing.assert_close(rows.nansum(2), torch.ones(NEW, LAYERS))


def extended(answer: Tensor) -> dict[str, Any]:
    """The prompt and the beginning of its answer, as a prompt."""
    inputs = batch_of([PROMPT])
    ids = torch.cat([inputs["input_ids"], answer[None]], 1)
    return {**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)}


def test_rows_and_lens_are_those_of_the_prompt_with_the_answer_so_far(double: PreTrainedModel) -> None:
    reading, out = read(double, None)
    rows, lens = reading.rows(out.past_key_values), reading.lens(top=3)
    new = out.sequences[0, len(PROMPT.ids) :]
    for step in range(NEW):
        whole = picture_attention(double, extended(new[:step]))
        torch.testing.assert_close(rows[step][:, whole.columns[0]], whole.image[0], **ROUNDED)
        expected = logit_lens(double, extended(new[:step]), top=3)
        assert torch.equal(lens.ids[step], expected.ids[0])
        torch.testing.assert_close(lens.probabilities[step], expected.probabilities[0])
        assert lens.ids[step, -1, 0] == new[step]


def test_dropped_tokens_are_nan_in_later_layers_alone(double: PreTrainedModel) -> None:
    reading, out = read(double, FastV(2, 0.5))
    missing = reading.rows(out.past_key_values)[:, :, : len(PROMPT.ids)].isnan().sum(2)
    assert missing.tolist() == [[0] * 2 + [12] * (LAYERS - 2)] * NEW


def test_a_flow_that_is_left_uncomputed_reads_nothing_and_keys_let_go_are_nan(double: PreTrainedModel) -> None:
    reading, out = read(double, VisiPruner(2, layer_threshold=0.9, token_threshold=0.5))
    shallow = reading.rows(out.past_key_values)[:, :2, 6 : 6 + PER_IMAGE]
    assert bool((shallow[0] == 0).all())
    assert bool(shallow[1:].isnan().all())


def test_the_model_answers_as_ever_and_is_left_as_it_was(double: PreTrainedModel) -> None:
    with torch.no_grad():
        before = double(**PROMPT.inputs).logits
        plain = double.generate(**PROMPT.inputs, max_new_tokens=NEW, do_sample=False)
        _, out = read(double, None)
        assert torch.equal(out.sequences, plain)
        assert torch.equal(double(**PROMPT.inputs).logits, before)
    assert not any(module._forward_pre_hooks for module in double.modules())


@pytest.mark.parametrize("name", ["qwen3_5", "lfm2_vl"])
def test_layers_without_attention_have_no_rows(name: str) -> None:
    entry = ZOO[name]
    model = entry.build("eager", torch.float64)
    inputs = entry.batch([entry.prompt(3, "image", 5)])
    reading = AnswerReading(model, tokens_of(model, inputs))
    options = {"do_sample": False, "return_dict_in_generate": True, "output_attentions": True}
    with torch.no_grad(), Scope(model, reading.watching(FastV(2, 0.5).plan())), reading.during():
        out = model.generate(**inputs, max_new_tokens=NEW, **options)
    rows = reading.rows(out.past_key_values)
    assert rows.shape[:2] == (NEW, LAYERS)
    assert bool(rows[:, [0, 2, 3, 5]].isnan().all())
    for step in range(NEW):
        eager = [each for each in out.attentions[step] if each is not None]
        for layer, expected in zip((1, 4), eager, strict=True):
            mine = rows[step, layer][~rows[step, layer].isnan()]
            torch.testing.assert_close(mine, expected[0].mean(0)[-1].float(), **ROUNDED)


def test_several_prompts_are_refused(double: PreTrainedModel) -> None:
    with pytest.raises(UnsupportedUsageError, match="one prompt at a time"):
        AnswerReading(double, tokens_of(double, batch_of([PROMPT, prompt(2, "image", 3)])))
