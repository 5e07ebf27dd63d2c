"""Value norms against the value projection written out, and the criterion of a sink on numbers made by hand."""

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.exact import ROUNDED
from tests.flow.checks import assert_untouched, eager_attentions, last_columns, sides
from tests.matrix import models, prompts
from tests.reference import image_columns, instruction_columns
from tests.tiny import LAYERS, batch_of, prompt
from visionflow import UnsupportedUsageError, VisionFlowError
from visionflow.flow import ValueNorms, sinks, value_norms


@models
@sides
def test_norms_and_attention_are_their_definitions(model: PreTrainedModel, side: str) -> None:
    inputs = batch_of(prompts(), side)
    found = value_norms(model, inputs)
    full = eager_attentions(model, inputs)
    with torch.no_grad():
        states = model(**inputs, output_hidden_states=True, use_cache=False).hidden_states
    assert found.layers == tuple(range(LAYERS))
    for sample in range(4):
        image, text = image_columns(inputs, sample), instruction_columns(inputs, sample)
        assert found.columns[sample].tolist() == image
        assert found.norms[sample].shape == found.from_last[sample].shape == (LAYERS, len(image))
        for layer, module in enumerate(model.model.language_model.layers):
            values = module.self_attn.v_proj(module.input_layernorm(states[layer][sample, image])).detach()
            torch.testing.assert_close(found.norms[sample][layer], values.abs().sum(1).float(), **ROUNDED)
        last = full[:, sample, last_columns(inputs)[sample]][:, image]
        torch.testing.assert_close(found.from_last[sample], last, **ROUNDED)
        if text:
            mean = full[:, sample, text].mean(1)[:, image]
            torch.testing.assert_close(found.from_instruction[sample], mean, **ROUNDED)


@models
@sides
def test_each_sample_gets_what_it_gets_alone(model: PreTrainedModel, side: str) -> None:
    batch = value_norms(model, batch_of(prompts(), side))
    for sample, one in enumerate(prompts()):
        alone = value_norms(model, one.inputs)
        for name in ("norms", "from_last", "from_instruction"):
            torch.testing.assert_close(getattr(batch, name)[sample], getattr(alone, name)[0], **ROUNDED)


@models
def test_the_model_is_left_as_it_was(model: PreTrainedModel) -> None:
    inputs = batch_of(prompts())
    assert_untouched(model, inputs, lambda: value_norms(model, inputs))


def test_chosen_layers_come_in_the_order_asked_for(model: PreTrainedModel) -> None:
    inputs = batch_of(prompts())
    every, some = value_norms(model, inputs), value_norms(model, inputs, layers=[4, 1])
    assert some.layers == (4, 1)
    for name in ("norms", "from_last", "from_instruction"):
        assert torch.equal(getattr(some, name)[1], getattr(every, name)[1][[4, 1]])


def test_wrong_input_is_refused(model: PreTrainedModel) -> None:
    inputs = prompt(3, "image", 6).inputs
    with pytest.raises(UnsupportedUsageError, match="layers is empty"):
        value_norms(model, inputs, layers=[])
    with pytest.raises(UnsupportedUsageError, match="0 to 5"):
        value_norms(model, inputs, layers=[6])
    with pytest.raises(UnsupportedUsageError, match="whole prompt"):
        value_norms(model, {"pixel_values": inputs["pixel_values"]})


NORMS = torch.tensor([[800.0, 300.0, 820.0, 300.0, 840.0, 410.0, 830.0], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]])
READ = torch.tensor([[0.01, 0.30, 0.20, 0.02, 0.01, 0.25, 0.01], [0.1, 0.5, 0.1, 0.1, 0.1, 0.1, 0.1]])


def values(norms: Tensor = NORMS, read: Tensor = READ) -> ValueNorms:
    """One sample: layer 3: tokens 1 and 3 have small values, 1 and 5 are much read; layer 7: no norm is small."""
    columns = torch.arange(5, 5 + norms.shape[1])
    return ValueNorms((3, 7), [columns], [norms], [read], [read.flip(1)])


def test_a_sink_has_a_small_value_and_is_much_read() -> None:
    """The median norm is 800 (half: 400), the mean attention of layer 3 is 0.114 (twice: 0.229)."""
    found = sinks(values())
    assert [columns.tolist() for columns in found.columns[0]] == [[6], []]
    torch.testing.assert_close(found.shares, torch.tensor([[0.30 / 0.80, 0.0]]))


def test_the_factors_move_the_bounds() -> None:
    assert sinks(values(), norm_below=0.52).columns[0][0].tolist() == [6, 10]
    assert sinks(values(), norm_below=2.0).columns[0][0].tolist() == [6, 10]
    assert sinks(values(), norm_below=2.0, attention_above=1.5).columns[0][0].tolist() == [6, 7, 10]
    assert sinks(values(), attention_above=0.1).columns[0][0].tolist() == [6, 8]
    assert sinks(values(), norm_below=2.0).columns[0][1].tolist() == [6]


def test_the_instruction_may_be_the_reader() -> None:
    """It reads the same, the other way round: token 5 becomes 1, much read, and 1 stays small."""
    found = sinks(values(), readers="instruction")
    assert found.columns[0][0].tolist() == [6]
    torch.testing.assert_close(found.shares[0, 0], torch.tensor(0.25 / 0.80))


def test_the_median_of_an_even_number_lies_between_the_middle_two() -> None:
    """Norms 1, 4, 6, 10: half of the median is 2.5, half of the lower middle one 2.0."""
    norms, read = torch.tensor([[10.0, 2.2, 6.0, 4.0]] * 2), torch.tensor([[0.0, 0.9, 0.05, 0.05]] * 2)
    assert sinks(values(norms, read)).columns[0][0].tolist() == [6]


def test_samples_without_a_picture_have_no_sinks(model: PreTrainedModel) -> None:
    found = sinks(value_norms(model, batch_of(prompts())))
    assert all(len(columns) == 0 for columns in found.columns[2])
    assert found.shares[2].isnan().all()
    assert found.shares[[0, 1, 3]].isfinite().all()
    rows = json.loads(json.dumps(found.rows(), allow_nan=False))
    assert [row["share"] for row in rows if row["sample"] == 2] == [None] * LAYERS


def test_rows_are_json() -> None:
    broken = replace(values(), from_instruction=[torch.full_like(READ, torch.nan)])
    rows = json.loads(json.dumps(broken.rows(), allow_nan=False))
    assert rows[1]["layer"] == 7
    assert rows[1]["columns"] == list(range(5, 12))
    assert rows[1]["norms"] == NORMS[1].tolist()
    assert rows[1]["from_last"] == READ[1].tolist()
    assert rows[1]["from_instruction"] == [None] * 7
    found = json.loads(json.dumps(sinks(values()).rows()))
    assert found[0] == {"sample": 0, "layer": 3, "columns": [6], "share": pytest.approx(0.375)}


def test_wrong_factors_and_readers_are_refused() -> None:
    for factors in ({"norm_below": 0.0}, {"attention_above": -1.0}):
        with pytest.raises(VisionFlowError, match="must be positive"):
            sinks(values(), **factors)  # type: ignore[arg-type]
    with pytest.raises(VisionFlowError, match="no readers 'image'"):
        sinks(values(), readers="image")  # type: ignore[arg-type]
