"""A stock processor that fits `tests.tiny.tiny_llava`, and both saved as a checkpoint."""

from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlavaProcessor, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from tests.tiny import IMAGE_SIZE, IMAGE_TOKEN, PATCH, tiny_llava

TEMPLATE = (
    "<s> USER: {% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }} {% endif %}"
    "{% endfor %}{% endfor %}ASSISTANT:"
)


def tiny_processor() -> LlavaProcessor:
    """A word for each of the model's 128 ids, letters, yes and no among them; anything else in a prompt is unknown."""
    words = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "<image>": IMAGE_TOKEN}
    answers = {100 + place: answer for place, answer in enumerate(("A", "B", "C", "D", "yes", "no"))}
    words |= {answers.get(i, f"w{i}"): i for i in range(4, 128) if i != IMAGE_TOKEN}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": IMAGE_SIZE}, crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}
        ),
        tokenizer=PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            bos_token="<s>",
            eos_token="</s>",
            pad_token="<pad>",
            unk_token="<unk>",
            extra_special_tokens={"image_token": "<image>"},
            padding_side="left",
        ),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )


def save_tiny(directory: Path, model: PreTrainedModel | None = None) -> Path:
    """The tiny LLaVA (or `model`) with its processor, as a local checkpoint."""
    (model or tiny_llava()).save_pretrained(directory)
    tiny_processor().save_pretrained(directory)
    return directory
