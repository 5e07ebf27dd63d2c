"""Every class of the installed mapping was looked at, and every entry runs dense as transformers means it to."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from tests.zoo import REFUSED, ZOO, Entry, Prompt
from tests.zoo.entry import IMAGE
from tests.zoo.observe import attentions_of, traits_of
from tests.zoo.quick import shared_out
from tests.zoo.survey import SURVEY
from tests.zoo.table import table
from visionflow.engines.hf.families import UNTRIED

TOLERANCE = 1e-4  # fp32
entries = pytest.mark.parametrize(
    "entry", [pytest.param(ZOO[name.values[0]], id=name.values[0], marks=name.marks) for name in shared_out(ZOO.keys())]
)
VIDEOS = {name: entry for name, entry in ZOO.items() if "video" in entry.pictures}
of_videos = pytest.mark.parametrize("entry", VIDEOS.values(), ids=list(VIDEOS))


@lru_cache(maxsize=1)  # tests of one entry follow one another
def model_of(name: str) -> PreTrainedModel:
    return ZOO[name].build()


def prompts_of(entry: Entry) -> list[Prompt]:
    """One picture, two with text between, none, one in a long prompt; where the class takes them, videos."""
    wide = "wide" if "wide" in entry.pictures else "image"
    prompts = [
        entry.prompt(3, "image", 6),
        entry.prompt(2, "image", 4, wide, 9, seed=3),
        entry.prompt(9, seed=4),
        entry.prompt(20, wide, 12, seed=5),
    ]
    if "video" in entry.pictures and entry.mixes:
        prompts.append(entry.prompt(3, "image", 4, "video", 6, seed=8))
    return prompts


@lru_cache(maxsize=1)
def singles_of(name: str) -> list[Tensor]:
    """Logits of each of `prompts_of` alone."""
    return [alone(ZOO[name], prompt) for prompt in prompts_of(ZOO[name])]


def alone(entry: Entry, prompt: Prompt) -> Tensor:
    """Logits ``[tokens, vocabulary]`` of one sample."""
    with torch.no_grad():
        logits: Tensor = model_of(entry.model_type)(**entry.batch([prompt])).logits[0]
    return logits


def test_every_class_was_looked_at() -> None:
    """A new transformers version that adds a class fails here until someone has read it."""
    assert ZOO.keys() | REFUSED.keys() == MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.keys() - UNTRIED.keys()
    assert not ZOO.keys() & REFUSED.keys()
    assert ZOO.keys() == SURVEY.keys()


def test_the_readme_shows_the_survey() -> None:
    assert table() in Path(__file__).with_name("README.md").read_text()


@entries
def test_dense(entry: Entry) -> None:
    """Logits are finite and read the picture; the most likely token is not everywhere the same."""
    for logits in singles_of(entry.model_type):
        assert logits.isfinite().all()
        assert len(logits.argmax(-1).unique()) > 1
    one, other = (entry.prompt(3, "image", 6, seed=seed) for seed in (0, 1))
    seen = alone(entry, one)[-1] - alone(entry, Prompt(one.ids, other.pictures))[-1]
    assert seen.abs().max() > 1e-3


@of_videos
def test_videos(entry: Entry) -> None:
    assert alone(entry, entry.prompt(3, "video", 6)).isfinite().all()


@entries
def test_a_padded_batch_gives_each_sample_what_it_gets_alone(entry: Entry) -> None:
    prompts = prompts_of(entry)
    close = []
    for side in ("left", "right"):
        with torch.no_grad():
            logits = model_of(entry.model_type)(**entry.batch(prompts, side)).logits
        for row, single in zip(logits, singles_of(entry.model_type), strict=True):
            own = row[-len(single) :] if side == "left" else row[: len(single)]
            close.append(bool((own - single).abs().max() < TOLERANCE))
    assert all(close) == entry.batches


@entries
def test_cached_equals_uncached(entry: Entry) -> None:
    """Greedy tokens of `generate`, and of a run that begins again for every token."""
    for prompt in (entry.prompt(3, "image", 6), entry.prompt(12, seed=1)):
        with torch.no_grad():
            made = model_of(entry.model_type).generate(**entry.batch([prompt]), max_new_tokens=4, do_sample=False)
        again: list[int] = []
        for _ in range(4):
            again.append(int(alone(entry, prompt.then(again))[-1].argmax()))
        assert made[0, len(prompt.ids) :].tolist() == again


@entries
def test_traits(entry: Entry) -> None:
    """The data of `traits` are what the instance does, and its parts are where it says."""
    model, traits = model_of(entry.model_type), entry.traits
    assert traits_of(model, entry) == traits
    assert getattr(model.config, traits.image_token) == IMAGE
    for attention in attentions_of(model, traits):
        assert isinstance(attention.get_submodule(traits.projection), nn.Linear)
        assert hasattr(attention, "config")
    assert _last_of(model, entry) is model.get_submodule(traits.decoder).get_submodule(traits.norm)


def _last_of(model: PreTrainedModel, entry: Entry) -> nn.Module:
    """The child of the decoder that ran last."""
    ran: list[nn.Module] = []

    def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        ran.append(module)

    decoder = model.get_submodule(entry.traits.decoder)
    handles = [child.register_forward_hook(note) for child in decoder.children()]
    alone(entry, entry.prompt(3, "image", 6))
    for handle in handles:
        handle.remove()
    return ran[-1]
