"""The attention of chosen rows against the full maps of eager attention."""

import json
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from tests.exact import ROUNDED
from tests.flow.checks import assert_untouched, eager_attentions, last_columns, sides
from tests.matrix import models, prompts
from tests.reference import image_columns, instruction_columns
from tests.tiny import IMAGE_TOKEN, LAYERS, PER_IMAGE, Prompt, batch_of, prompt
from visionflow import UnsupportedUsageError
from visionflow.core import Selection, Tokens, attention
from visionflow.flow import picture_attention


def every_third(tokens: Tokens) -> torch.Tensor:
    """Tokens whose id divides by three, padding included: its id is 0."""
    return tokens.input_ids % 3 == 0


def real_columns(inputs: dict[str, Any], sample: int) -> list[int]:
    return torch.nonzero(inputs["attention_mask"][sample]).flatten().tolist()


def readers_of(inputs: dict[str, Any], sample: int, rows: Selection) -> list[int]:
    real, image = real_columns(inputs, sample), image_columns(inputs, sample)
    groups = {
        "last": [last_columns(inputs)[sample]],
        "image": image,
        "instruction": instruction_columns(inputs, sample),
        "system": [column for column in real if not image or column < image[0]],
    }
    ids = inputs["input_ids"][sample].tolist()
    return groups[rows] if isinstance(rows, str) else [column for column in real if ids[column] % 3 == 0]


every_choice = pytest.mark.parametrize(
    "rows", ["last", "instruction", "image", "system", every_third], ids=lambda rows: getattr(rows, "__name__", rows)
)


@models
@sides
@every_choice
def test_attention_is_the_mean_of_the_rows_and_heads(model: PreTrainedModel, side: str, rows: Selection) -> None:
    inputs = batch_of(prompts(), side)
    found = picture_attention(model, inputs, rows)
    full = eager_attentions(model, inputs)
    assert found.layers == tuple(range(LAYERS))
    for sample in range(4):
        image = image_columns(inputs, sample)
        assert found.columns[sample].tolist() == image
        assert found.image[sample].shape == (LAYERS, len(image))
        assert found.image[sample].dtype == torch.float32
        readers = readers_of(inputs, sample, rows)
        masses = [found.image_mass[sample], found.system_mass[sample], found.instruction_mass[sample]]
        if not readers:
            assert all(mass.isnan().all() for mass in masses)
            continue
        read = full[:, sample, readers].mean(1)
        torch.testing.assert_close(found.image[sample], read[:, image], **ROUNDED)
        for mass, group in zip(masses, ("image", "system", "instruction"), strict=True):
            expected = read[:, readers_of(inputs, sample, group)].sum(1)  # type: ignore[arg-type]
            torch.testing.assert_close(mass, expected, **ROUNDED)
        torch.testing.assert_close(sum(masses), torch.ones(LAYERS))


def test_both_pictures_of_a_sample_are_there(model: PreTrainedModel) -> None:
    found = picture_attention(model, batch_of(prompts()))
    assert [len(columns) for columns in found.columns] == [PER_IMAGE, 2 * PER_IMAGE, 0, PER_IMAGE]


@models
@sides
@every_choice
def test_each_sample_gets_what_it_gets_alone(model: PreTrainedModel, side: str, rows: Selection) -> None:
    batch = picture_attention(model, batch_of(prompts(), side), rows)
    for sample, one in enumerate(prompts()):
        alone = picture_attention(model, one.inputs, rows)
        torch.testing.assert_close(batch.image[sample], alone.image[0], **ROUNDED)
        for name in ("image_mass", "system_mass", "instruction_mass"):
            torch.testing.assert_close(getattr(batch, name)[sample], getattr(alone, name)[0], **ROUNDED, equal_nan=True)


def test_rows_are_taken_in_chunks(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = batch_of(prompts())
    whole = picture_attention(model, inputs, "image", layers=[3])
    seen: list[int] = []
    softmax = torch.Tensor.softmax

    def watched(scores: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        seen.append(scores.numel())
        return softmax(scores, *args, **kwargs)

    monkeypatch.setattr(attention, "CHUNK_ELEMENTS", 4096)
    monkeypatch.setattr(torch.Tensor, "softmax", watched)
    pieces = picture_attention(model, inputs, "image", layers=[3])
    assert len(seen) > 1
    assert max(seen) <= 4096
    for one, other in zip(whole.image, pieces.image, strict=True):
        torch.testing.assert_close(one, other)


def test_chosen_layers_come_in_the_order_asked_for(model: PreTrainedModel) -> None:
    inputs = batch_of(prompts())
    every, some = picture_attention(model, inputs), picture_attention(model, inputs, layers=[4, 1])
    assert some.layers == (4, 1)
    for sample in range(4):
        assert torch.equal(some.image[sample], every.image[sample][[4, 1]])
    assert torch.equal(some.system_mass, every.system_mass[:, [4, 1]])


@models
def test_the_model_is_left_as_it_was(model: PreTrainedModel) -> None:
    inputs = batch_of(prompts())
    assert_untouched(model, inputs, lambda: picture_attention(model, inputs, "instruction"))

    def fails() -> None:
        def rows(tokens: Tokens) -> torch.Tensor:
            raise KeyError("rows")

        with pytest.raises(KeyError, match="rows"):
            picture_attention(model, inputs, rows)

    assert_untouched(model, inputs, fails)


def test_rows_are_json(model: PreTrainedModel) -> None:
    inputs = batch_of(prompts())
    found = picture_attention(model, inputs, "instruction", layers=[2, 5])
    rows = json.loads(json.dumps(found.rows(), allow_nan=False))
    assert [(row["sample"], row["layer"]) for row in rows] == [(s, layer) for s in range(4) for layer in (2, 5)]
    assert rows[3] == {
        "sample": 1,
        "layer": 5,
        "columns": image_columns(inputs, 1),
        "image": found.image[1][1].tolist(),
        "image_mass": found.image_mass[1, 1].item(),
        "system_mass": found.system_mass[1, 1].item(),
        "instruction_mass": found.instruction_mass[1, 1].item(),
    }
    assert rows[4]["image_mass"] is None  # no picture, so no instruction that reads it
    assert rows[4]["image"] == []


def test_a_picture_at_the_end_has_no_instruction(model: PreTrainedModel) -> None:
    ends = Prompt([1, 5] + [IMAGE_TOKEN] * PER_IMAGE, prompt("image").pictures)
    found = picture_attention(model, ends.inputs, "instruction")
    assert found.image[0].isnan().all()
    assert picture_attention(model, ends.inputs, "last").image[0].isfinite().all()


def test_wrong_input_is_refused(model: PreTrainedModel) -> None:
    inputs = prompt(3, "image", 6).inputs
    with pytest.raises(UnsupportedUsageError, match="no group 'valid': use 'system', 'image'"):
        picture_attention(model, inputs, "valid")  # type: ignore[arg-type]
    with pytest.raises(UnsupportedUsageError, match="layers is empty"):
        picture_attention(model, inputs, layers=[])
    with pytest.raises(UnsupportedUsageError, match="0 to 5"):
        picture_attention(model, inputs, layers=[-1])
    with pytest.raises(UnsupportedUsageError, match="whole prompt"):
        picture_attention(model, {"pixel_values": inputs["pixel_values"]})
