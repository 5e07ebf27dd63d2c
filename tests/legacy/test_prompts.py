"""Prompts, image tokens and pixels are those of the original code."""

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor

from tests.legacy import originals
from tests.legacy.conftest import System
from visionflow.errors import UnsupportedModelError, VisionFlowError
from visionflow.legacy import qwen_vl_prompt
from visionflow.loading.prompts import make_prompts
from visionflow.report.figures import Scene

QUESTION = "What is this?"
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def chat(*turns: tuple[int, str, str | None]) -> list[dict[str, Any]]:
    """Turns of so many pictures, a question, and an answer or None."""
    messages: list[dict[str, Any]] = []
    for pictures, question, answer in turns:
        content: list[dict[str, str]] = [{"type": "image"}] * pictures + [{"type": "text", "text": question}]
        messages.append({"role": "user", "content": content})
        if answer is not None:
            messages.append({"role": "assistant", "content": answer})
    return messages


def written(system: System, *turns: tuple[int, str, str | None]) -> str:
    text: str = system.processor.apply_chat_template(chat(*turns), add_generation_prompt=True, tokenize=False)
    return text


def test_mobilevlm_prompts(mobile: System) -> None:
    start = (
        "A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions. "
    )
    assert written(mobile, (1, QUESTION, None)) == start + "USER: <0x00>\nWhat is this? ASSISTANT:"
    assert written(mobile, (0, QUESTION, None)) == start + "USER: What is this? ASSISTANT:"
    assert written(mobile, (2, QUESTION, None)) == start + "USER: <0x00>\n<0x00>\nWhat is this? ASSISTANT:"
    assert written(mobile, (1, "a?", "b."), (0, "c?", None)) == (
        start + "USER: <0x00>\na? ASSISTANT: b.</s>USER: c? ASSISTANT:"
    )


def test_qwen_prompts(qwen: System) -> None:
    start = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    end = "<|im_end|>\n<|im_start|>assistant\n"
    first, second = "Picture 1: <img><imgpad></img>\n", "Picture 2: <img><imgpad></img>\n"
    assert written(qwen, (1, QUESTION, None)) == start + first + QUESTION + end
    assert written(qwen, (0, QUESTION, None)) == start + QUESTION + end
    assert written(qwen, (2, QUESTION, None)) == start + first + second + QUESTION + end
    assert written(qwen, (1, "a?", "b."), (1, "c?", None)) == (
        start + first + "a?" + end + "b.<|im_end|>\n<|im_start|>user\n" + second + "c?" + end
    )


@pytest.mark.parametrize("size", [(30, 30), (90, 20), (20, 90)], ids=str)
@pytest.mark.parametrize("pictures", [0, 1, 2])
def test_image_tokens(system: System, pictures: int, size: tuple[int, int]) -> None:
    shown = [Image.new("RGB", size, "red")] * pictures
    ids = make_prompts(system.model, system.processor, [shown], [QUESTION])["input_ids"][0]
    image = (ids == system.model.config.image_token_id).nonzero().flatten().tolist()
    assert len(image) == pictures * system.per_image
    assert sum(later - earlier > 1 for earlier, later in pairwise(image)) == max(0, pictures - 1)  # one block each


def test_mobilevlm_text_around_a_picture_is_tokenized_apart(mobile: System) -> None:
    inputs = make_prompts(mobile.model, mobile.processor, [[Image.new("RGB", (9, 9))]], ["at"])
    ids = inputs["input_ids"][0].tolist()
    before, after = ids[: ids.index(3)], ids[len(ids) - ids[::-1].index(3) :]
    name = mobile.processor.tokenizer.convert_ids_to_tokens
    assert name(before[:2]) == ["<s>", "▁A"]
    assert before.count(1) == 1
    assert name(before[-3:]) == ["<0x52>", ":", "▁"]
    assert name(after[:5]) == ["▁", "<0x0A>", "at", "▁A", "S"]


def test_mobilevlm_reads_the_released_tokenizer_file(mobile: System, tmp_path: Path) -> None:
    """Against sentencepiece itself, on the pieces before and after the picture; needs it and protobuf."""
    sentencepiece = pytest.importorskip("sentencepiece")
    pytest.importorskip("google.protobuf")
    shutil.copy(mobile.directory / "config.json", tmp_path)
    text = Path(originals.__file__).read_text()
    (tmp_path / "corpus.txt").write_text(text)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "corpus.txt"), model_prefix=str(tmp_path / "tokenizer"), model_type="bpe", vocab_size=600,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2,
    )  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    processor = AutoProcessor.from_pretrained(tmp_path)
    for question in (QUESTION, "  two  spaces, ünïcode 猫\n\tand lines\n", text[:2000]):
        prompt = written(System(tmp_path, {}, 144, mobile.model, processor), (1, question, None))
        before, after = prompt.split("<0x00>")
        expected = [1, *pieces.encode(before), 3, *pieces.encode(after)]
        assert processor.tokenizer(prompt).input_ids == expected


def test_mobilevlm_without_the_packages_for_its_tokenizer(
    mobile: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(mobile.directory / "config.json", tmp_path)
    monkeypatch.setattr("visionflow.legacy.mobilevlm.is_sentencepiece_available", lambda: False)
    with pytest.raises(VisionFlowError, match="pip install sentencepiece protobuf"):
        AutoProcessor.from_pretrained(tmp_path)


def test_a_tokenizer_that_is_not_that_of_llama_is_refused(mobile: System, tmp_path: Path) -> None:
    shutil.copy(mobile.directory / "config.json", tmp_path)
    content = (mobile.directory / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(content.replace("<0x00>", "<zero>"))
    with pytest.raises(VisionFlowError, match="not that of Llama"):
        AutoProcessor.from_pretrained(tmp_path)


def test_qwen_token_ids(qwen: System) -> None:
    tokenizer, first = qwen.processor.tokenizer, originals.RANKS
    assert len(tokenizer) == first + 3 + 205 + 9
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|extra_204|>", "<img>", "</img>", "<imgpad>"]
    places = [0, 1, 2, 207, 214, 215, 216]
    assert tokenizer.convert_tokens_to_ids(names) == [first + place for place in places]
    text = "the 猫 is thé\n 12 cats"
    ids = tokenizer(text).input_ids
    assert max(ids) < first
    assert tokenizer.decode(ids) == text
    assert tokenizer("this the").input_ids == [256, 257, 259]  # th is, and " the" before "the"


def test_the_released_qwen_ids_follow_from_the_size_of_the_file() -> None:
    ids = {name: qwen_vl_prompt.special_id(name, 151857) for name in qwen_vl_prompt.SPECIALS}
    assert ids["<|endoftext|>"] == 151643  # the number of lines of the released qwen.tiktoken
    assert (ids["<|im_start|>"], ids["<|im_end|>"]) == (151644, 151645)
    assert (ids["<ref>"], ids["<img>"], ids["</img>"], ids["<imgpad>"]) == (151851, 151857, 151858, 151859)


def test_qwen_ids_are_those_of_tiktoken(qwen: System) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    pattern = (
        r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"""
        r"""|\s+(?!\S)|\s+"""
    )
    ranks = {bytes([byte]): byte for byte in range(256)} | {merge: 256 + n for n, merge in enumerate(originals.MERGES)}
    specials = {name: originals.RANKS + place for place, name in enumerate(qwen_vl_prompt.SPECIALS)}
    original = tiktoken.Encoding("Qwen", pat_str=pattern, mergeable_ranks=ranks, special_tokens=specials)
    for text in (Path(__file__).read_text(), "this the  thistle 猫 🐈 1234\r\n", written(qwen, (1, QUESTION, None))):
        assert qwen.processor.tokenizer(text).input_ids == original.encode(text, allowed_special="all")


def test_boxes_of_an_answer_are_shown_and_stops_are_not(qwen: System) -> None:
    tokenizer = qwen.processor.tokenizer
    ids = tokenizer("<ref>the cat</ref><box>(1,2),(3,4)</box><|im_end|>").input_ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<ref>the cat</ref><box>(1,2),(3,4)</box>"


def test_line_ends_of_the_rank_file_do_not_matter(qwen: System, tmp_path: Path) -> None:
    originals.write_ranks(tmp_path / "qwen.tiktoken", end="\r\n")
    tokenizer = qwen_vl_prompt.read_tokenizer(tmp_path / "qwen.tiktoken")
    assert tokenizer(QUESTION).input_ids == qwen.processor.tokenizer(QUESTION).input_ids


def test_a_cut_off_rank_file_is_refused(tmp_path: Path) -> None:
    originals.write_qwen(tmp_path)
    lines = (tmp_path / "qwen.tiktoken").read_text().splitlines(keepends=True)
    (tmp_path / "qwen.tiktoken").write_text("".join(lines[:-1]))
    with pytest.raises(VisionFlowError, match=r"puts <imgpad> at 475, the model expects it at 476"):
        AutoProcessor.from_pretrained(tmp_path)


def test_the_base_model_is_refused(tmp_path: Path) -> None:
    originals.write_qwen(tmp_path)
    originals.write_json(tmp_path / "generation_config.json", originals.GENERATION | {"chat_format": "raw"})
    with pytest.raises(UnsupportedModelError, match="use Qwen-VL-Chat, not Qwen-VL"):
        AutoProcessor.from_pretrained(tmp_path)


@pytest.mark.parametrize("question", ["what\0is it?", "what is <0x00>?"])
def test_the_id_that_image_tokens_borrow_cannot_come_from_a_question(mobile: System, question: str) -> None:
    with pytest.raises(VisionFlowError, match=r"holds the byte 0|holds <0x00>"):
        make_prompts(mobile.model, mobile.processor, [[]], [question])


@pytest.mark.parametrize("question", ["<img>cat.png</img>What?", "what is <imgpad>?"])
def test_a_picture_in_the_words_of_a_question_is_refused(qwen: System, question: str) -> None:
    with pytest.raises(VisionFlowError, match="holds <img"):
        make_prompts(qwen.model, qwen.processor, [[]], [question])


@pytest.mark.parametrize("size", [(60, 30), (31, 80)], ids=str)
def test_mobilevlm_pixels_are_padded_to_a_square(mobile: System, size: tuple[int, int]) -> None:
    picture, side = _noise(size), max(size)
    square = Image.new("RGB", (side, side), tuple(int(255 * mean) for mean in CLIP_MEAN))
    square.paste(picture, ((side - size[0]) // 2, (side - size[1]) // 2))
    expected = _normalised(square.resize((336, 336), Image.Resampling.BICUBIC))
    pixels = mobile.processor.image_processor(picture, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(pixels, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(60, 30), (500, 700)], ids=str)
def test_qwen_pixels_ignore_the_aspect_ratio(qwen: System, size: tuple[int, int]) -> None:
    picture = _noise(size)
    expected = _normalised(picture.resize((448, 448), Image.Resampling.BICUBIC))
    pixels = qwen.processor.image_processor(picture, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(pixels, expected, rtol=0, atol=1e-5)


def test_a_saved_processor_is_stock_and_makes_the_same_inputs(system: System, tmp_path: Path) -> None:
    system.processor.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path, backend="pil")
    assert type(again).__module__.startswith("transformers.")
    picture = _noise((50, 30))
    one, other = (make_prompts(system.model, each, [[picture]], [QUESTION]) for each in (system.processor, again))
    assert torch.equal(one["input_ids"], other["input_ids"])
    assert torch.equal(one["pixel_values"], other["pixel_values"])


def _noise(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def _normalised(picture: Image.Image) -> torch.Tensor:
    pixels = torch.tensor(np.asarray(picture)).permute(2, 0, 1) / 255
    return (pixels - torch.tensor(CLIP_MEAN)[:, None, None]) / torch.tensor(CLIP_STD)[:, None, None]


def test_image_tokens_have_places_in_the_picture(system: System) -> None:
    """Those of MobileVLM pool 2 x 2 patches; those of Qwen-VL are queries in a grid of their own."""
    picture = Image.new("RGB", (90, 60))
    inputs = system.processor(images=picture, text=system.processor.image_token + " What?", return_tensors="pt")
    scene = Scene.of_prompt(system.model, system.processor, [picture], inputs)
    assert (scene.patches(), scene.patch) == ([system.per_image], 28)
    box = (0, -15, 90, 75) if system.model.config.model_type == "mobilevlm" else (0, 0, 90, 60)
    assert scene.framings[0].box == pytest.approx(box)
