"""Questions about pictures, as the model's own chat template and processor put it."""

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import PreTrainedModel

from visionflow.cost.shape import image_tokens_of
from visionflow.engines.hf.families import family_of
from visionflow.errors import VisionFlowError, line_of
from visionflow.loading.videos import Video

_ENDLESS = 2**20  # tokens, where positions have no end

GOT_OCR = (
    "<|im_start|>system\nYou should follow the instructions carefully and explain your answers in detail.<|im_end|>"
    "<|im_start|>user\n<img>{pictures}</img>\n{question}<|im_end|><|im_start|>assistant\n"
)
WITHOUT_TEMPLATE = {
    "PaliGemmaProcessor": "{pictures}{question}",
    "ChameleonProcessor": "{pictures}{question}",
    "FuyuProcessor": "{question}",  # it writes the picture before it by itself
    "GotOcr2Processor": GOT_OCR,
    "Blip2Processor": "Question: {question} Answer:",  # as Fuyu's does
    "InstructBlipProcessor": "{question}",
}
"""Prompts of processors whose released checkpoints have no chat template, as transformers' pages on them have it."""


def make_prompt(
    model: PreTrainedModel, processor: Any, pictures: Sequence[Image.Image], question: str, new_tokens: int = 0
) -> Any:
    """The inputs of `model` (batch of one, on its device) for one question about `pictures`.

    Raises:
        VisionFlowError: as `make_prompts` does.
    """
    return make_prompts(model, processor, [pictures], [question], new_tokens)


def make_prompts(
    model: PreTrainedModel,
    processor: Any,
    pictures: Sequence[Sequence[Image.Image]],
    questions: Sequence[str],
    new_tokens: int = 0,
    before: Sequence[Sequence[str]] | None = None,
) -> Any:
    """The inputs of `model` (one batch, padded on the left, on its device): each question about its own pictures.

    `before` are earlier turns of each conversation, what was asked and what was answered in turn; the pictures belong
    to its first question.

    Raises:
        VisionFlowError: a question is empty or holds the image placeholder, the template cannot show pictures or
            earlier turns, the image tokens do not fit the model, or a prompt and `new_tokens` are longer than the model
            can place.
    """
    before = [()] * len(questions) if before is None else before
    marks = _marks(processor)
    for question in questions:
        _check_words(question, marks)
    if _layout(processor) is None and not getattr(processor, "chat_template", None):
        raise VisionFlowError("the model's processor has no chat template, so its prompt is unknown: add one to it")
    try:
        texts = [prompt_text(processor, *asked) for asked in zip(pictures, questions, before, strict=True)]
        for shown, text in zip(pictures, texts, strict=True):
            if shown and marks and not _layout(processor) and not any(mark in text for mark in marks):
                raise VisionFlowError("the prompt has no image token: the model's chat template leaves the picture out")
        inputs = _inputs(processor, pictures, questions, before)
    except VisionFlowError:
        raise
    except Exception as error:  # templates raise their own errors; the processor, when pictures and marks differ
        raise VisionFlowError(f"the model's processor cannot make this prompt: {line_of(error)}") from error
    inputs.pop("labels", None)  # PaliGemma's, of a prompt for training
    _check_image_tokens(model, inputs, sum(map(len, pictures)))
    _check_length(model, inputs["input_ids"].shape[1], new_tokens)
    return inputs.to(model.device, dtype=model.dtype)


def make_video_prompt(model: PreTrainedModel, processor: Any, video: Video, question: str, new_tokens: int = 0) -> Any:
    """The inputs of `model` (batch of one, on its device) for one question about a video: all its frames are taken.

    Raises:
        VisionFlowError: the model takes no videos, or as `make_prompts` does.
    """
    _check_words(question, [*_marks(processor), *_marks(processor, "video_token")])
    if getattr(processor, "video_processor", None) is None or not getattr(processor, "chat_template", None):
        raise VisionFlowError(
            f"a {model.config.model_type} model takes pictures, not videos: choose one that does, as Qwen2-VL to "
            "Qwen3-VL, LLaVA-OneVision or LLaVA-NeXT-Video"
        )
    chat = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": question}]}]
    try:
        text = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        inputs = processor(
            text=[text],
            videos=[np.stack([np.asarray(frame) for frame in video.frames])],
            video_metadata=[video.metadata],
            do_sample_frames=False,
            return_tensors="pt",
            **_token_types(processor),
            **({"add_special_tokens": False} if text.startswith(processor.tokenizer.bos_token or "\0") else {}),
        )
    except Exception as error:  # templates and processors raise their own errors
        raise VisionFlowError(f"the model's processor cannot make this prompt: {line_of(error)}") from error
    if not torch.isin(inputs["input_ids"], torch.tensor(family_of(model).image_token_ids(model))).any():
        raise VisionFlowError("the prompt has no tokens of the video: the model's chat template leaves it out")
    _check_length(model, inputs["input_ids"].shape[1], new_tokens, "take fewer frames, ask a shorter question")
    return inputs.to(model.device, dtype=model.dtype)


def prompt_text(processor: Any, pictures: Sequence[Image.Image], question: str, before: Sequence[str] = ()) -> str:
    """The prompt as the chat template writes it: one placeholder per picture, and up to where the answer begins.

    Raises:
        VisionFlowError: there is no chat template for the turns `before` this one.
    """
    if layout := _layout(processor):
        if before:
            raise VisionFlowError("the model's processor has no chat template, and so no further turns: ask once")
        return layout.format(pictures=str(processor.image_token) * len(pictures), question=question)
    text: str = processor.apply_chat_template(
        _chat(pictures, question, before), add_generation_prompt=True, tokenize=False
    )
    return text


def tokens_after(tokenizer: Any, prompt: str, text: str) -> list[int]:
    """The tokens by which `prompt` grows with `text` behind it; none if the tokenizer melts the two into one.

    A tokenizer may cut a word differently when it stands alone.
    """
    before: list[int] = tokenizer(prompt)["input_ids"]
    after: list[int] = tokenizer(prompt + text)["input_ids"]
    return after[len(before) :] if after[: len(before)] == before else []


def room_after(model: PreTrainedModel, prompt: int) -> int:
    """New tokens that `model` has positions for after so many of a prompt."""
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return _ENDLESS if longest is None else longest - prompt


def _inputs(
    processor: Any,
    pictures: Sequence[Sequence[Image.Image]],
    questions: Sequence[str],
    before: Sequence[Sequence[str]],
) -> Any:
    options: dict[str, Any] = {"padding": True, "padding_side": "left"}
    if _layout(processor):
        texts = [prompt_text(processor, *asked) for asked in zip(pictures, questions, strict=True)]
        images = [picture for shown in pictures for picture in shown]
        return processor(images=images or None, text=texts, return_tensors="pt", **options)
    options |= _token_types(processor)
    return processor.apply_chat_template(
        [_chat(*asked) for asked in zip(pictures, questions, before, strict=True)],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs=options,
    )


def _layout(processor: Any) -> str | None:
    """The prompt's layout where it is known without a chat template, and there is none."""
    return None if getattr(processor, "chat_template", None) else WITHOUT_TEMPLATE.get(type(processor).__name__)


def _chat(pictures: Sequence[Image.Image], question: str, before: Sequence[str]) -> list[dict[str, Any]]:
    chat: list[dict[str, Any]] = [
        {"role": role, "content": [{"type": "text", "text": text}]}
        for role, text in zip(cycle(("user", "assistant")), [*before, question], strict=False)
    ]
    chat[0]["content"][:0] = [{"type": "image", "image": picture} for picture in pictures]
    return chat


def _token_types(processor: Any) -> dict[str, Any]:
    """Some processors make them only when asked."""
    return {"return_mm_token_type_ids": True} if "mm_token_type_ids" in processor.model_input_names else {}


def _marks(processor: Any, *names: str) -> list[str]:
    """What stands for a picture in a prompt, or for what `names` say."""
    names = names or ("image_token", "image_placeholder_token")
    return [str(mark) for name in names if (mark := getattr(processor, name, None))]


def _check_words(question: str, marks: Sequence[str]) -> None:
    check_question(question)
    for mark in marks:
        if mark in question:
            raise VisionFlowError(f"the question holds {mark}, which stands for a picture: leave it out")


def check_question(question: str) -> None:
    """Refuse a question of white space."""
    if not question.strip():
        raise VisionFlowError("the question is empty: ask something about the picture")


def _check_image_tokens(model: PreTrainedModel, inputs: Any, pictures: int) -> None:
    found = int((inputs["input_ids"] == family_of(model).image_token_id(model)).sum())
    per_picture = image_tokens_of(model.config)
    if per_picture is not None and found != pictures * per_picture:
        raise VisionFlowError(
            f"the processor made {found} image tokens where the model makes {per_picture} of each of {pictures} "
            "picture(s): processor and model do not belong together"
        )


def _check_length(
    model: PreTrainedModel, prompt: int, new_tokens: int, shorter: str = "ask a shorter question"
) -> None:
    room = room_after(model, prompt)
    if new_tokens > room:
        answer, fewer = (f" and an answer of {new_tokens}", ", or for fewer new tokens") if new_tokens else ("", "")
        raise VisionFlowError(
            f"the prompt of {prompt} tokens{answer} is more than the model's {room + prompt} positions: "
            f"{shorter}{fewer}"
        )
