"""A processor for a model of the zoo, as data: the files that a checkpoint has, made without any network.

A `Kit` names the stock classes and the sizes that fit the tiny model; `save` writes the files beside its weights. They
are written as `save_pretrained` writes them, but from data, so that they are the same where a class cannot be imported.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from matplotlib.font_manager import findfont
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedConfig, PreTrainedTokenizerFast

from tests.zoo.entry import VOCABULARY, Entry

TEXT = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "A": 4, "B": 5, "C": 6, "D": 7, "yes": 8, "no": 9}
SPARE = (*range(80, 91), *range(110, 120))  # for marks that the model does not know by their ids
TEMPLATE = (
    "<s> USER: {% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}PLACEHOLDER {% else %}{{ part['text'] }} {% endif %}"
    "{% endfor %}{% endfor %}ASSISTANT:"
)

Options = dict[str, Any]
Tokens = dict[str, int | None]
FONT = "Roboto-Regular.ttf"  # ERNIE's checkpoints bring one along


@dataclass(frozen=True)
class Kit:
    """What makes the processor of one family.

    Attributes:
        processor: the name of its class; further arguments are in `options`.
        image: its image processor, as ``processor_config.json`` has it.
        tokens: special tokens and their ids in the tiny model; those at None get spare ids.
        names: attributes of the tokenizer, for example ``image_token``, and the special token that each stands for.
        shown: what the chat template writes for a picture; empty: the checkpoints have no template.
        video: its video processor, where it has one.
        audio: its feature extractor, where it has one.
        asked: its query former has a tokenizer of its own.
        begun: every text begins with a token of its own, as SentencePiece has it, and special tokens are words.
        resize: turns the zoo's config into one that fits sizes which the processor's class has fixed.
    """

    processor: str
    image: Options
    tokens: Tokens
    names: dict[str, str] = field(default_factory=dict)
    options: Options = field(default_factory=dict)
    shown: str = "<image>"
    video: Options | None = None
    audio: Options | None = None
    resize: Callable[[PreTrainedConfig], None] = lambda config: None
    begun: bool = False
    asked: bool = False


def save(entry: Entry, kit: Kit, directory: Path) -> Path:
    """The tiny model with its processor, as a checkpoint; without weights where its tower comes from a missing timm."""
    config = entry.config()
    kit.resize(config)
    try:
        replace(entry, config=lambda: config).build().save_pretrained(directory)
    except ImportError:
        config.save_pretrained(directory)
        save_file({}, directory / "model.safetensors", {"format": "pt"})
    tokenizer(kit).save_pretrained(directory)
    if kit.asked:
        tokenizer(kit).save_pretrained(directory / "qformer_tokenizer")
    parts = {"image_processor": kit.image, "video_processor": kit.video, "feature_extractor": kit.audio}
    described = {"processor_class": kit.processor, **{k: v for k, v in parts.items() if v}, **kit.options}
    (directory / "processor_config.json").write_text(json.dumps(described, indent=2))
    if kit.shown:
        (directory / "chat_template.jinja").write_text(TEMPLATE.replace("PLACEHOLDER", kit.shown))
    if kit.video and "font" in kit.video:
        shutil.copy(findfont("DejaVu Sans"), directory / FONT)
    return directory


def tokenizer(kit: Kit) -> PreTrainedTokenizerFast:
    """A word for each id of the tiny models; any other word is unknown."""
    spare = iter(SPARE)
    special = {name: next(spare) if place is None else place for name, place in kit.tokens.items()}
    taken = {*TEXT.values(), *special.values()}
    words = TEXT | special | {f"w{i}": i for i in range(VOCABULARY) if i not in taken}
    made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if kit.begun:
        marks = [pre_tokenizers.Split(mark, "isolated") for mark in (*special, "<s>")]
        made.normalizer = normalizers.Prepend("w10 ")
        made.pre_tokenizer = pre_tokenizers.Sequence([*marks, made.pre_tokenizer])
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        sep_token="</s>",
        extra_special_tokens=kit.names | ({} if kit.begun else {f"mark_{n}": name for n, name in enumerate(special)}),
    )
