"""The embedded model and its processor, from stock transformers classes and nothing else."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from visionflow.scenes import (
    CELL,
    CELLS,
    WORDS,
    Lesson,
    Split,
    course,
    lessons,
    sample_scene,
    scene_rng,
    shared_lessons,
)

BOS, EOS, PAD, IMAGE = "<s>", "</s>", "<pad>", "<image>"

# The usual 0.02 is for widths in the thousands; at a width under 200 it starts the training nearly silent.
_INITIAL_SPREAD = 0.06

# The prompt of LLaVA-1.5, pictures first, with a short system sentence of our own.
CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}The assistant answers questions about a picture. {% endif %}"
    "{% for message in messages %}"
    "{% set content = message['content'] %}"
    "{% if content is string %}{% set content = [{'type': 'text', 'text': content}] %}{% endif %}"
    "{% if message['role'] == 'assistant' %}"
    "ASSISTANT:"
    "{% generation %}"
    "{% for part in content if part['type'] == 'text' %} {{ part['text'] }}{% endfor %}</s>"
    "{% endgeneration %}"
    "{% else %}"
    "{% if message['role'] == 'user' %}USER: {% endif %}"
    "{% for part in content if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in content if part['type'] == 'text' %}{{ part['text'] }} {% endfor %}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


@dataclass(frozen=True)
class Geometry:
    """The sizes that make a model big or small; widths in channels, the picture in pixels."""

    vision_width: int = 256
    vision_layers: int = 4
    vision_heads: int = 8
    vision_mlp: int = 768
    text_width: int = 256
    text_layers: int = 12
    text_heads: int = 4
    text_kv_heads: int = 2
    text_head_width: int = 64
    text_mlp: int = 512
    picture: int = CELL * CELLS
    patch: int = CELL
    vocabulary: int = 800

    @property
    def grid(self) -> int:
        """Patches along one side of the picture."""
        return self.picture // self.patch


def learned_vocabulary(geometry: Geometry, more: Iterable[Lesson] = ()) -> str:
    """A byte-level BPE trained on generated conversations: any text has tokens, the world's own text has few.

    As JSON. `more` are lessons besides those of the generated world, which get words, too.
    """
    return _vocabulary(geometry.vocabulary, tuple(_told(more)))


@cache
def _vocabulary(most: int, more: tuple[str, ...]) -> str:
    """The same; made once, because learning it takes seconds."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=most + most // 2 * bool(more),
        special_tokens=[BOS, EOS, PAD, IMAGE],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((*_corpus("train", 400), *more), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    said: str = tokenizer.to_str()
    return said


def _wrapped(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        extra_special_tokens={"image_token": IMAGE},
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def build_processor(geometry: Geometry, vocabulary: str | None = None) -> LlavaProcessor:
    """The stock LLaVA processor: resize of the shorter edge, centre crop, one placeholder token per patch.

    `vocabulary` is a tokenizer as JSON; without one it learns its own.
    """
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": geometry.picture},
            crop_size={"height": geometry.picture, "width": geometry.picture},
            image_mean=[0.5, 0.5, 0.5],
            image_std=[0.5, 0.5, 0.5],
        ),
        tokenizer=_wrapped(Tokenizer.from_str(vocabulary or learned_vocabulary(geometry))),
        patch_size=geometry.patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(geometry: Geometry, tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    """A stock LLaVA with random weights; the last layer of the tower feeds the projector, so no layer is idle."""
    special: dict[str, Any] = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = CLIPVisionConfig(
        hidden_size=geometry.vision_width,
        intermediate_size=geometry.vision_mlp,
        num_hidden_layers=geometry.vision_layers,
        num_attention_heads=geometry.vision_heads,
        image_size=geometry.picture,
        patch_size=geometry.patch,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=geometry.text_width,
        intermediate_size=geometry.text_mlp,
        num_hidden_layers=geometry.text_layers,
        num_attention_heads=geometry.text_heads,
        num_key_value_heads=geometry.text_kv_heads,
        head_dim=geometry.text_head_width,
        max_position_embeddings=2048,
        initializer_range=_INITIAL_SPREAD,
        tie_word_embeddings=False,
        **special,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=geometry.grid**2,
        initializer_range=_INITIAL_SPREAD,
        tie_word_embeddings=False,
        **special,
    )
    model = LlavaForConditionalGeneration(config)
    _start_clear(model)
    return model


def _start_clear(model: LlavaForConditionalGeneration) -> None:
    """Words as large as what the layers add to them, and layers that add nothing yet.

    With all weights of one spread the first layer's noise is ten times as large as the words it is added to, and
    hundreds of steps go into digging them out again.
    """
    nn.init.normal_(model.get_input_embeddings().weight)
    for layer in model.model.language_model.layers:
        nn.init.zeros_(layer.self_attn.o_proj.weight)
        nn.init.zeros_(layer.mlp.down_proj.weight)


def _corpus(split: Split, scenes: int) -> Iterator[str]:
    """What the tokenizer learns from: the words of the template and of the lessons about many scenes."""
    yield from repeat("The assistant answers questions about a picture. USER: ASSISTANT:", scenes)
    yield " ".join(("", *WORDS))
    for index in range(scenes):
        rng = scene_rng(split, index)
        scene = sample_scene(rng, (2, 16))
        yield from _told((*lessons(scene, rng, 6, course(1.0)), *shared_lessons((scene, scene), rng, 1)))


def _told(several: Iterable[Lesson]) -> Iterator[str]:
    return (f"{turn.prompt} {turn.answer}" for lesson in several for turn in lesson.turns)
