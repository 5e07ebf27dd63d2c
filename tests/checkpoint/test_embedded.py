"""The weights in the package: they load, they see, and what they say about unseen scenes is not a guess."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration, LlavaProcessor

from visionflow.checkpoint import EMBEDDED
from visionflow.evaluation.records import Record
from visionflow.evaluation.rows import Row
from visionflow.evaluation.runner import run_batch
from visionflow.evaluation.suites import SUITES, Sample
from visionflow.loading.models import Loaded, load_model
from visionflow.scenes import CELLS

EXAMPLE = Path(__file__).parents[2] / "examples" / "scene.png"
ROWS = [Row("dense", None), Row("grey", None, sight="grey"), Row("none", None, sight="none")]


@pytest.fixture(scope="module")
def embedded() -> Loaded:
    return load_model(None, None, "cpu")


def right(records: Sequence[Record], row: str) -> float:
    return sum(record["rows"][row]["right"] for record in records) / len(records)


def test_it_loads_as_any_checkpoint_does() -> None:
    model = AutoModelForImageTextToText.from_pretrained(EMBEDDED)
    processor = AutoProcessor.from_pretrained(EMBEDDED)
    assert isinstance(model, LlavaForConditionalGeneration)
    assert isinstance(processor, LlavaProcessor)
    assert processor.tokenizer.padding_side == "left"
    assert model.config.image_seq_length == CELLS**2
    assert (EMBEDDED / "model.safetensors").stat().st_size < 15e6
