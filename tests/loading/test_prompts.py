"""Prompts in a batch are the same prompts, padded on the left."""

import pytest
import torch
from PIL import Image

from tests.tiny import PAD, PER_IMAGE, tiny_llava
from tests.tiny_processor import tiny_processor
from visionflow.errors import VisionFlowError
from visionflow.loading.prompts import make_prompt, make_prompts, prompt_text

QUESTIONS = ["w5", "w6 w7 w8", "w9 w10"]
PICTURES = [[Image.new("RGB", (30, 20 + 9 * number), (90 * number, 40, 200))] for number in range(3)]


def test_a_batch_holds_each_prompt_after_its_padding() -> None:
    model, processor = tiny_llava(), tiny_processor()
    processor.tokenizer.padding_side = "right"  # as some checkpoints have it, and as generate cannot use it
    batch = make_prompts(model, processor, PICTURES, QUESTIONS)
    for place, (pictures, question) in enumerate(zip(PICTURES, QUESTIONS, strict=True)):
        alone = make_prompt(model, processor, pictures, question)
        length = alone["input_ids"].shape[1]
        assert torch.equal(batch["input_ids"][place, -length:], alone["input_ids"][0])
        assert (batch["input_ids"][place, :-length] == PAD).all()
        assert batch["attention_mask"][place].sum() == length
        assert torch.equal(batch["pixel_values"][place], alone["pixel_values"][0])
    assert (batch["input_ids"] == model.config.image_token_id).sum() == 3 * PER_IMAGE


def test_questions_without_pictures() -> None:
    batch = make_prompts(tiny_llava(), tiny_processor(), [[]] * 3, QUESTIONS)
    assert set(batch) == {"input_ids", "attention_mask"}


def test_one_bad_question_in_a_batch_is_refused() -> None:
    for bad, message in ((" ", "the question is empty"), ("w5 <image>", "holds <image>")):
        with pytest.raises(VisionFlowError, match=message):
            make_prompts(tiny_llava(), tiny_processor(), PICTURES, ["w5", bad, "w6"])


def test_the_text_is_what_becomes_tokens() -> None:
    """But for the placeholder, which becomes a token for each patch."""
    processor = tiny_processor()
    text = prompt_text(processor, PICTURES[0], "w5 w6")
    assert text == "<s> USER: <image> w5 w6 ASSISTANT:"
    ids = make_prompt(tiny_llava(), processor, PICTURES[0], "w5 w6")["input_ids"][0].tolist()
    image = processor.tokenizer.convert_tokens_to_ids("<image>")
    assert [token for token in ids if token != image] == [
        token for token in processor.tokenizer(text)["input_ids"] if token != image
    ]


def test_a_prompt_longer_than_the_model_is_refused() -> None:
    model, processor = tiny_llava(), tiny_processor()
    with pytest.raises(VisionFlowError, match=r"the prompt of \d+ tokens is more .*: ask a shorter question$"):
        make_prompt(model, processor, PICTURES[0], "w5 " * 600)
    with pytest.raises(VisionFlowError, match=r"tokens and an answer of 600 is more .*, or for fewer new tokens$"):
        make_prompt(model, processor, PICTURES[0], "w5", new_tokens=600)
