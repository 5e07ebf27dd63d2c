"""The weights in the package: they load, they see, and what they say about unseen scenes is not a guess."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration, LlavaProcessor

from visionflow.checkpoint import EMBEDDED, load_embedded
from visionflow.checkpoint.evaluate import answers, best_guess_by_kind, unseen_items

EXAMPLE = Path(__file__).parents[2] / "examples" / "scene.png"


@pytest.fixture(scope="module")
def embedded() -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    return load_embedded()


def test_it_loads_as_any_checkpoint_does() -> None:
    model = AutoModelForImageTextToText.from_pretrained(EMBEDDED)
    processor = AutoProcessor.from_pretrained(EMBEDDED)
    assert isinstance(model, LlavaForConditionalGeneration)
    assert isinstance(processor, LlavaProcessor)
    assert processor.tokenizer.padding_side == "left"
    assert model.config.text_config.num_hidden_layers >= 12
    assert (EMBEDDED / "model.safetensors").stat().st_size < 15e6


def test_what_it_says_of_counts_colours_and_shapes_is_seen_and_not_guessed(
    embedded: tuple[LlavaForConditionalGeneration, LlavaProcessor],
) -> None:
    """These three kinds only: existence, relation and choice are not yet learnt (the model card has the figures)."""
    items = [item for item in unseen_items(196) if item.question.kind in ("count", "colour", "shape")]
    gold = [item.question.answer for item in items]
    seen = sum(said == right for said, right in zip(answers(*embedded, items), gold, strict=True))
    blind = sum(said == right for said, right in zip(answers(*embedded, items, "grey"), gold, strict=True))
    assert len(items) == 84
    assert seen > 1.5 * best_guess_by_kind(items).total()
    assert seen > 1.5 * blind


def test_the_example_picture_is_counted_right(embedded: tuple[LlavaForConditionalGeneration, LlavaProcessor]) -> None:
    model, processor = embedded
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many objects are there?"}]}]
    prompt = processor.apply_chat_template(chat, add_generation_prompt=True)
    with Image.open(EXAMPLE) as picture:
        inputs = processor(images=picture, text=prompt, return_tensors="pt")
    with torch.inference_mode():
        out = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    assert processor.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip() == "4"
