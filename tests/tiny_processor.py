"""Stock processors that fit `tests.tiny.tiny_llava` and two models of the zoo, and all saved as checkpoints."""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import Gemma3Processor, LlavaNextProcessor, LlavaProcessor, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from tests.tiny import IMAGE_SIZE, IMAGE_TOKEN, PATCH, tiny_llava
from tests.zoo import ZOO
from tests.zoo.entry import END, START

TEMPLATE = (
    "<s> USER: {% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }} {% endif %}"
    "{% endfor %}{% endfor %}ASSISTANT:"
)


def tiny_tokenizer(**special: str) -> PreTrainedTokenizerFast:
    """A word for each of the models' 128 ids, letters, yes and no among them; anything else in a prompt is unknown."""
    words = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "<image>": IMAGE_TOKEN, "<start>": START, "<end>": END}
    answers = {100 + place: answer for place, answer in enumerate(("A", "B", "C", "D", "yes", "no"))}
    words |= {answers.get(i, f"w{i}"): i for i in range(4, 128) if i not in words.values()}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"} | special,
        padding_side="left",
    )


def tiny_processor() -> LlavaProcessor:
    """That of the tiny LLaVA."""
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": IMAGE_SIZE}, crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}
        ),
        tokenizer=tiny_tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )


def tiny_llava_next_processor() -> LlavaNextProcessor:
    """That of the zoo's LLaVA-NeXT: a picture becomes itself and tiles of 8 x 8 pixels, 4 patches each."""
    return LlavaNextProcessor(
        image_processor=LlavaNextImageProcessorPil(
            size={"shortest_edge": 8},
            crop_size={"height": 8, "width": 8},
            image_grid_pinpoints=ZOO["llava_next"].config().image_grid_pinpoints,
        ),
        tokenizer=tiny_tokenizer(),
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )


def tiny_gemma3_processor(**settings: Any) -> Gemma3Processor:
    """That of the zoo's Gemma 3: a square of 24 x 24 pixels, 9 image tokens of 8 x 8; `settings` of pictures."""
    return Gemma3Processor(
        image_processor=Gemma3ImageProcessorPil(size={"height": 24, "width": 24}, **settings),
        tokenizer=tiny_tokenizer(boi_token="<start>", eoi_token="<end>"),
        chat_template=TEMPLATE.replace("<image>", "<start>"),
        image_seq_length=9,
    )


PROCESSORS = {"llava_next": tiny_llava_next_processor, "gemma3": tiny_gemma3_processor}
"""By the name of their model in the zoo."""


def save_tiny(directory: Path, model: PreTrainedModel | None = None) -> Path:
    """The tiny LLaVA (or `model`) with its processor, as a local checkpoint."""
    (model or tiny_llava()).save_pretrained(directory)
    tiny_processor().save_pretrained(directory)
    return directory


def save_zoo(directory: Path, name: str) -> Path:
    """A model of the zoo with its processor, as a local checkpoint."""
    model = ZOO[name].build()
    model.save_pretrained(directory)
    PROCESSORS[name]().save_pretrained(directory)
    return directory
