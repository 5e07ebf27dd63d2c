"""The weights in the package: they load, they see, and what they say about unseen scenes is not a guess."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration, LlavaProcessor

from visionflow.checkpoint import EMBEDDED
from visionflow.evaluation.records import Record, Records
from visionflow.evaluation.rows import Configuration
from visionflow.evaluation.runner import evaluate
from visionflow.evaluation.suites import SUITES
from visionflow.loading.models import Loaded, load_model
from visionflow.scenes import CELLS

EXAMPLE = Path(__file__).parents[2] / "examples" / "scene.png"
DEMO = "How many red objects are there?"
ROWS = [Configuration("dense", None), Configuration("grey", None, sight="grey")]


@pytest.fixture(scope="module")
def embedded() -> Loaded:
    return load_model(None, None, "cpu")


def share_right(records: Sequence[Record], row: str) -> float:
    return sum(record["rows"][row]["right"] for record in records) / len(records)


def test_it_loads_as_any_checkpoint_does() -> None:
    model = AutoModelForImageTextToText.from_pretrained(EMBEDDED)
    processor = AutoProcessor.from_pretrained(EMBEDDED)
    assert isinstance(model, LlavaForConditionalGeneration)
    assert isinstance(processor, LlavaProcessor)
    assert processor.tokenizer.padding_side == "left"
    assert model.config.image_seq_length == CELLS**2
    assert (EMBEDDED / "model.safetensors").stat().st_size < 25e6


@pytest.mark.parametrize(
    ("task", "at_least", "blind_at_most"),
    [
        pytest.param("existence", 0.9, 0.6, marks=pytest.mark.slow),
        pytest.param("open", 0.65, 0.45, marks=pytest.mark.slow),
        pytest.param("choice", 0.45, 0.4, marks=pytest.mark.slow),
    ],
)
def test_it_answers_by_looking(embedded: Loaded, task: str, at_least: float, blind_at_most: float) -> None:
    """Far above chance on unseen scenes, and at chance on a grey picture; the model card has the figures."""
    records = evaluate(embedded, SUITES["scenes"].samples(60, [task]), ROWS, Records())
    assert share_right(records, "dense") >= at_least
    assert share_right(records, "grey") <= blind_at_most


def test_what_the_demo_asks_is_answered_right(embedded: Loaded) -> None:
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": DEMO}]}]
    prompt = embedded.processor.apply_chat_template(chat, add_generation_prompt=True)
    with Image.open(EXAMPLE) as picture:
        inputs = embedded.processor(images=picture, text=prompt, return_tensors="pt")
    with torch.inference_mode():
        out = embedded.model.generate(**inputs, max_new_tokens=4, do_sample=False)
    said = embedded.processor.tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert said.strip() == "3"
