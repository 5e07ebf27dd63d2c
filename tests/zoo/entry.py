"""What one family of the zoo is: a tiny model of the real architecture, and prompts in the layout its class takes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from tests.zoo.survey import SURVEY
from tests.zoo.traits import Traits

PAD, BOS, EOS = 0, 1, 2
FIRST_SPECIAL = 88  # text tokens are below
VIDEO_START, VIDEO_END, AUDIO, ROW, START, END, FRAME, VIDEO, IMAGE = 91, 92, 93, 94, 95, 96, 97, 98, 99
VOCABULARY = 128
LAYERS = 6

TEXT: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": LAYERS,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "pad_token_id": PAD,
    "bos_token_id": BOS, "eos_token_id": EOS,
}  # fmt: skip
"""What every text config understands."""

SHARP = ("q_proj", "k_proj", "q_b_proj", "kv_b_proj", "qkv_proj", "query_key_value", "qkv", "wq", "wk")


@dataclass(frozen=True)
class Picture:
    """One picture or video, as a processor would give it.

    Attributes:
        ids: the tokens that stand for it in the prompt, begin, end and separator tokens included.
        tensors: its model inputs; those of all pictures of a batch are joined along the first axis.
    """

    ids: list[int]
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class Prompt:
    """One sample: its ids (no padding), its pictures, and how many of the ids were generated."""

    ids: list[int]
    pictures: list[Picture]
    generated: int = 0

    def then(self, tokens: list[int]) -> "Prompt":
        """The prompt with generated tokens after it."""
        return replace(self, ids=self.ids + tokens, generated=self.generated + len(tokens))


Draw = Callable[[Generator], Picture]
"""Draws a picture: its ids are fixed, its pixels are not."""


def joined(samples: list[list[Picture]]) -> dict[str, Tensor]:
    """The tensors of all pictures of a batch, one after the other along the first axis."""
    pictures = [picture for sample in samples for picture in sample]
    names = dict.fromkeys(name for picture in pictures for name in picture.tensors)
    return {name: torch.cat([p.tensors[name] for p in pictures if name in p.tensors]) for name in names}


Columns = Callable[[Tensor, Tensor], dict[str, Tensor]]
"""Further inputs per token, from the padded ids and a mask of the generated ones."""


def no_columns(ids: Tensor, generated: Tensor) -> dict[str, Tensor]:
    """For classes whose inputs per token are the ids alone."""
    return {}


def modality_columns(ids: Tensor, generated: Tensor) -> dict[str, Tensor]:
    """``mm_token_type_ids``: 0 text, 1 image, 2 video."""
    return {"mm_token_type_ids": (ids == IMAGE).long() + 2 * (ids == VIDEO).long()}


@dataclass(frozen=True, eq=False)
class Entry:
    """One model type of the zoo, with one text model.

    Attributes:
        model_type: ``config.model_type`` of the whole model.
        config: its tiny config.
        pictures: for each mark that a prompt may hold ("image", "wide": of another size, "video"), how to draw one.
        columns: further inputs per token, from the padded ids and a mask of the generated ones.
        join: how the pictures of a batch become arguments.
        prefix: tokens of every prompt before everything else.
        batches: False where transformers itself does not give a batch what its samples get alone; why is in `traits`.
        mixes: False where transformers itself takes no call with both pictures and videos.
        attention: what it runs on, where it is not asked for another.
        note: what is special about its text model, where the class has several.
        blank: stands for the pictures of a batch that has none, where the class takes no call without.
    """

    model_type: str
    config: Callable[[], PreTrainedConfig]
    pictures: dict[str, Draw]
    columns: Columns = no_columns
    join: Callable[[list[list[Picture]]], dict[str, Tensor]] = joined
    prefix: tuple[int, ...] = (BOS,)
    batches: bool = True
    mixes: bool = True
    attention: str = "sdpa"
    note: str = ""
    blank: Draw | None = None

    @property
    def traits(self) -> Traits:
        """Where the parts are and what the runtime must know; `tests.zoo.observe` verifies it on the instance."""
        return SURVEY[self.model_type]

    def build(self, attention: str | None = None, dtype: torch.dtype = torch.float32, seed: int = 0) -> PreTrainedModel:
        """The model with random weights; attention is sharpened so that scores differ between tokens."""
        torch.manual_seed(seed)
        config = self.config()
        model: PreTrainedModel = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)](config).eval()
        _draw_weights(model, Generator().manual_seed(seed + 1))
        model.generation_config.pad_token_id = PAD
        model.generation_config.eos_token_id = None
        text = next((name for name in config.sub_configs if getattr(config, name, 0) is config.get_text_config()), "")
        model.set_attn_implementation({text: attention or self.attention})
        return model.to(dtype)

    def prompt(self, *parts: int | str, seed: int = 0) -> Prompt:
        """A prompt from text lengths and marks of `pictures`: ``prompt(3, "image", 5)``."""
        generator = Generator().manual_seed(seed)
        ids, pictures = list(self.prefix), []
        for part in parts:
            if isinstance(part, str):
                pictures.append(self.pictures[part](generator))
                ids += pictures[-1].ids
            else:
                ids += torch.randint(3, FIRST_SPECIAL, (part,), generator=generator).tolist()
        return Prompt(ids, pictures)

    def batch(self, prompts: list[Prompt], side: str = "left") -> dict[str, Any]:
        """The padded batch, as a processor would give it."""
        width = max(len(p.ids) for p in prompts)
        ids = torch.full((len(prompts), width), PAD)
        mask = torch.zeros_like(ids)
        generated = torch.zeros_like(ids, dtype=torch.bool)
        for row, p in enumerate(prompts):
            place = slice(width - len(p.ids), width) if side == "left" else slice(0, len(p.ids))
            ids[row, place] = torch.tensor(p.ids)
            mask[row, place] = 1
            generated[row, place.stop - p.generated : place.stop] = True
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, **self.columns(ids, generated)}
        if any(p.pictures for p in prompts):
            inputs |= self.join([p.pictures for p in prompts])
        elif self.blank is not None:
            inputs |= self.join([[self.blank(Generator().manual_seed(0))]])
        return inputs


@torch.no_grad()
def _draw_weights(model: PreTrainedModel, generator: Generator) -> None:
    head = model.get_output_embeddings() or getattr(getattr(model, "language_model", None), "lm_head", None)
    unembedding = None if head is None else getattr(head, "weight", None)
    for name, weight in model.named_parameters():
        if weight.dim() < 2 or not weight.is_floating_point():
            continue
        fan_in = weight.numel() // weight.shape[0] if weight.dim() != 3 else weight.shape[-1]
        scale = 3.0 if any(part in name for part in SHARP) else 0.1 if weight is unembedding else 1.0
        weight.copy_(torch.randn(weight.shape, generator=generator) * scale / fan_in**0.5)
    if unembedding is not None and unembedding is not model.get_input_embeddings().weight:
        unembedding[: EOS + 1] = unembedding[FIRST_SPECIAL:] = 0.0  # generated tokens are plain text
