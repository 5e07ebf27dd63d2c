"""`trace.patches`: kept columns of the prompt as places among each picture's own image tokens."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from tests.tiny import PER_IMAGE, batch_of, prompt
from visionflow import FastV, HiMAP, VisiPruner, prune
from visionflow.core.tokens import find_tokens
from visionflow.core.trace import Stage
from visionflow.errors import VisionFlowError

IMAGE, TEXT, PAD = 9, 1, 0
# A sample as runs of text and of pictures, in turns: text, picture, text, picture, ..., text.
SAMPLES = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 6)), max_size=3)


@settings(max_examples=60)
@given(samples=st.lists(SAMPLES, min_size=1, max_size=3), left=st.booleans(), past=st.integers(0, 4), data=st.data())
def test_columns_are_places_in_the_pictures(
    samples: list[list[tuple[int, int]]], left: bool, past: int, data: st.DataObject
) -> None:
    """Padding on either side, any number of pictures, none, and turns that go on from a cache."""
    lengths = [sum(text + image for text, image in runs) + 1 for runs in samples]
    width = max(lengths)
    ids = torch.full((len(samples), width), PAD)
    expected: list[list[list[int]]] = []
    kept = torch.zeros(len(samples), width, dtype=torch.bool)
    for row, runs in enumerate(samples):
        at = width - lengths[row] if left else 0
        expected.append([])
        for text, image in runs:
            ids[row, at : at + text] = TEXT
            at += text
            ids[row, at : at + image] = IMAGE
            expected[row].append(sorted(data.draw(st.sets(st.integers(0, image - 1)))))
            kept[row, [at + place for place in expected[row][-1]]] = True
            at += image
        ids[row, at] = TEXT
    mask = torch.cat([torch.ones(len(samples), past), (ids != PAD).float()], 1)
    given_tokens = find_tokens(ids, mask, IMAGE, past)
    stays = (given_tokens.valid & ~given_tokens.image.mask) | kept
    order = stays.int().argsort(dim=1, descending=True, stable=True)
    counts = tuple(kept.sum(1).tolist())
    stage = Stage(1, given_tokens.take(order, stays.gather(1, order), counts), given_tokens)
    assert [[places.tolist() for places in sample] for sample in stage.patches()] == expected


def test_the_pictures_of_a_pruned_batch(model: PreTrainedModel) -> None:
    """Two pictures that touch, two with text between them, and none; both stages, and the kept columns come back."""
    inputs = batch_of([prompt(3, "image", "image", 4), prompt(2, "image", 5, "image", 3, seed=1), prompt(6, seed=2)])
    with prune(model, HiMAP(1, 0.5, 3, 0.75)) as trace, torch.no_grad():
        model(**inputs)
    starts = [
        [int(columns[0]) + PER_IMAGE * place for place in range(2)] if row == 0 else [int(columns[0]), int(columns[25])]
        for row, columns in ((row, (inputs["input_ids"][row] == 99).nonzero().flatten()) for row in (0, 1))
    ]
    for number, stage in enumerate(trace.stages):
        places = trace.patches(number)
        assert [len(sample) for sample in places] == [2, 2, 0]
        for sample in (0, 1):
            columns = [first + part for first, part in zip(starts[sample], places[sample], strict=True)]
            assert torch.equal(torch.cat(columns), stage.kept[sample])
            assert all(0 <= int(place) < PER_IMAGE for part in places[sample] for place in part)
    assert [[part.tolist() for part in sample] for sample in trace.patches()] == [
        [part.tolist() for part in sample] for sample in trace.patches(1)
    ]
    assert [len(sample) for sample in trace.stages[0].patches()] == [1, 2, 0]  # runs alone do not tell what touches


def test_what_cannot_be_told_is_refused(model: PreTrainedModel) -> None:
    inputs: dict[str, Any] = prompt(3, "image", 4).inputs
    with prune(model, FastV(2, 0.5)) as trace, torch.no_grad():
        with pytest.raises(VisionFlowError, match="there is no stage -1: run the model in the scope first"):
            trace.patches()
        model(**inputs)
        for stage in (1, -2):
            with pytest.raises(VisionFlowError, match=f"there is no stage {stage}"):
                trace.patches(stage)
        with pytest.raises(VisionFlowError, match="25 image tokens in a row are no pictures of 7"):
            trace.patches(per_picture=7)
        assert len(trace.patches(per_picture=5)[0]) == 5
    with prune(model, VisiPruner(1, layer_threshold=-1.0)) as trace, torch.no_grad():
        model(**inputs)
    with pytest.raises(VisionFlowError, match="where a method cuts nothing, all stay"):
        trace.patches()
