"""The prompt of Qwen-VL-Chat: its tokenizer from ``qwen.tiktoken``, its ChatML, its pictures."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import AddedToken, AutoConfig, LlavaProcessor, Qwen2Tokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.utils.hub import cached_file

from visionflow.errors import UnsupportedModelError, VisionFlowError
from visionflow.legacy.checkpoint import hub_options

GRID = 16  # a picture is 16 x 16 image tokens, whatever its size
TAGS = ("<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>")  # part of answers, so they are shown
# In the order of their ids, which follow those of the file. The original code fills the places of a picture with the
# bytes of its path, and then with "<imgpad>"; its features overwrite them all.
SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    *(f"<|extra_{i}|>" for i in range(205)),
    *TAGS,
    "<img>",
    "</img>",
    "<imgpad>",
)

# One system message, pictures numbered through the chat, and "Picture 1: " as in the README (the helper in the
# tokenizer's code leaves the space out).
TEMPLATE = (
    "{% set pictures = namespace(count=0) %}"
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}"
    "{% set content = [{'type': 'text', 'text': message['content']}] if message['content'] is string "
    "else message['content'] %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for part in content %}"
    "{% if part['type'] == 'image' %}{% set pictures.count = pictures.count + 1 %}"
    "{{ 'Picture ' ~ pictures.count ~ ': <img><imgpad></img>\n' }}"
    "{% elif '<img>' in part['text'] %}"
    "{{ raise_exception('a text holds <img>: give the picture itself, not its path') }}"
    "{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}"
    "{{ '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


class QwenVLProcessor:
    """Makes the stock processor of an original checkpoint: 448 x 448 pixels, 256 image tokens, ChatML."""

    @classmethod
    def from_pretrained(cls, name: Any, **options: Any) -> Any:
        """A `transformers.LlavaProcessor` for the checkpoint `name`.

        Raises:
            VisionFlowError: it is the base model, or its tokenizer file is not whole.
        """
        where = hub_options(options)
        _check_chat(name, where)
        config = AutoConfig.from_pretrained(name, **where)
        tokenizer = read_tokenizer(Path(cached_file(name, "qwen.tiktoken", **where)))
        if tokenizer.convert_tokens_to_ids("<imgpad>") != config.image_token_id:
            raise VisionFlowError(
                f"its qwen.tiktoken puts <imgpad> at {tokenizer.convert_tokens_to_ids('<imgpad>')}, the model expects "
                f"it at {config.image_token_id}: get the file again"
            )
        side = config.vision_config.image_size
        return LlavaProcessor(
            # The original ignores the aspect ratio; only the PIL back end gives its very pixels.
            image_processor=CLIPImageProcessorPil(size={"height": side, "width": side}, do_center_crop=False),
            tokenizer=tokenizer,
            patch_size=side // GRID,
            vision_feature_select_strategy="full",
            image_token="<imgpad>",
            chat_template=TEMPLATE,
        )


def special_id(token: str, image_start: int) -> int:
    """The id of a special token in a vocabulary where that of ``<img>`` is `image_start`."""
    return image_start + SPECIALS.index(token) - SPECIALS.index("<img>")


def read_tokenizer(path: Path) -> Any:
    """The tokenizer in a ``qwen.tiktoken``: a token in base64 and its rank per line; the special ones come after."""
    lines = (line.split() for line in path.read_bytes().splitlines() if line)
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    letters = bytes_to_unicode()
    vocabulary = {"".join(letters[byte] for byte in token): rank for token, rank in ranks.items()}
    # With their ids in the vocabulary: otherwise the tokenizer numbers those first that have a role.
    vocabulary |= {token: len(ranks) + place for place, token in enumerate(SPECIALS)}
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=[tuple("".join(letters[byte] for byte in half) for half in merge) for merge in _merges(ranks)],
        padding_side="left",
        extra_special_tokens=[token for token in SPECIALS if token not in TAGS],
    )
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    return tokenizer


def _merges(ranks: dict[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    """Every way to make a token of two, in the order in which they are tried: by the rank of what is made."""
    for token in sorted(ranks, key=ranks.__getitem__):
        halves = ((token[:at], token[at:]) for at in range(1, len(token)))
        pairs = [(left, right) for left, right in halves if left in ranks and right in ranks]
        yield from sorted(pairs, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))


def _check_chat(name: Any, where: dict[str, Any]) -> None:
    """Refuse the base model, which has the same configuration and another prompt."""
    found = cached_file(name, "generation_config.json", _raise_exceptions_for_missing_entries=False, **where)
    chat = json.loads(Path(found).read_text(encoding="utf-8")).get("chat_format", "chatml") if found else "chatml"
    if chat != "chatml":
        raise UnsupportedModelError(f"its prompts have the format {chat!r}, not ChatML: use Qwen-VL-Chat, not Qwen-VL")
