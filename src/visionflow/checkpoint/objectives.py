"""What is learnt in each phase, and how much of it is right: what patches show, and what is answered."""

from collections import defaultdict
from math import inf, pi
from typing import Any

import torch
from torch.nn import functional as F
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from visionflow.checkpoint.attention import Sight
from visionflow.checkpoint.data import Lessons, Teacher
from visionflow.checkpoint.recipe import Recipe
from visionflow.checkpoint.seen import NOTHING, SEEN, Patches, patches
from visionflow.checkpoint.sources import Source
from visionflow.checkpoint.tensors import IGNORED
from visionflow.scenes import course

_SHARPNESS = 0.2
"""Patches are scored by products with word embeddings, times this: so features come out about as large as words."""


class Objectives:
    """The losses and the validation of one model, with one processor.

    Attributes:
        model: in training.
        processor: with the vocabulary of the run; see `take`.
    """

    model: LlavaForConditionalGeneration

    def __init__(self, recipe: Recipe, device: torch.device, dtype: torch.dtype, source: Source) -> None:
        """`dtype` is that of products of matrices."""
        self.recipe, self.device, self.dtype, self.source = recipe, device, dtype, source
        # Fixed, and as large as words: learned heads are content with a trace, and nobody can read where things are.
        grid, width = recipe.geometry.grid, recipe.geometry.text_width
        lot = torch.Generator().manual_seed(recipe.seed)  # its own: what else is drawn by lot changes with the recipe
        self.places = {axis: _in_order(grid, width, lot) for axis in ("row", "column")}
        self.places["first"] = torch.randn(2, width, generator=lot)

    def take(self, processor: LlavaProcessor) -> None:
        """Teach with this processor from now on."""
        self.processor = processor
        self.teacher = Teacher(processor, self.recipe.chunks, self.source)
        self.words = {name: self._word_ids(name) for name in SEEN}

    def tower(self, number: int) -> torch.Tensor:
        """The loss of step `number` on what patches show."""
        seen = patches(self.processor, "train", _numbers(number, self.recipe.tower_pictures)).to(self.device)
        losses = []
        for name, logits in self._patch_scores(seen).items():
            weight = torch.ones(logits.shape[-1], device=self.device)
            if NOTHING in SEEN.get(name, ()):
                weight[-1] = self.recipe.ground_weight  # most patches are ground: they would drown the objects
            targets = getattr(seen, name).flatten()
            losses.append(F.cross_entropy(logits.float().flatten(0, 1), targets, weight, ignore_index=IGNORED))
        return torch.stack(losses).mean()

    def seen_right(self) -> dict[str, float]:
        """Of validation patches, by what they show; `all` is the worst."""
        seen = patches(self.processor, "validation", range(self.recipe.validation_pictures)).to(self.device)
        right = {}
        for name, logits in self._patch_scores(seen).items():
            targets = getattr(seen, name)
            asked = (targets != IGNORED) & (seen.shape != SEEN["shape"].index(NOTHING) if name != "ground" else True)
            right[name] = float((logits.argmax(-1) == targets)[asked].float().mean())
        return right | {"all": min(right.values())}

    def language(self, number: int, within: float) -> torch.Tensor:
        """The loss of step `number` on answers, `within` (0 to 1) of the way through the phase."""
        recipe = self.recipe
        progress = within / recipe.easy_share if recipe.easy_share else inf
        two = self.source.pairs and progress >= recipe.pairs_from and number % recipe.pairs_every == 0
        numbers = _numbers(number, recipe.pictures)
        taught = self.teacher.lessons("train", numbers, course(progress), 1 + two, recipe.hiding).to(self.device)
        out = self._read(taught)
        halfway = self.model.model.language_model.norm(out.hidden_states[recipe.meant_layers])
        said, meant = self._loss(out.last_hidden_state, taught.labels), self._loss(halfway, taught.meant)
        return said + recipe.meant_weight * meant

    def told_right(self) -> dict[str, float]:
        """Of validation lessons, by kind; `all` is the mean over kinds, `seen` what the tower sees worst."""
        tally: dict[str, list[bool]] = defaultdict(list)
        rows, many = self.recipe.pictures, self.recipe.validation_pictures
        for first in range(0, many, rows):
            numbers = range(first, min(first + rows, many))
            pictures = 2 if first == 0 and self.source.pairs else 1
            taught = self.teacher.lessons("validation", numbers, course(1.0), pictures).to(self.device)
            states = self._read(taught).last_hidden_state
            logits, targets = self._answers(states, taught.labels)
            wrong = torch.zeros_like(taught.labels, dtype=torch.bool)
            wrong[:, 1:][taught.labels[:, 1:] != IGNORED] = logits.argmax(-1) != targets
            for row, kinds in enumerate(taught.kinds):
                for lesson, kind in enumerate(kinds, start=1):
                    tally[kind].append(not bool(wrong[row, taught.owner[row] == lesson].any()))
        right = {kind: sum(rights) / len(rights) for kind, rights in sorted(tally.items())}
        seen = min(self.seen_right().values())
        return right | {"all": sum(right.values()) / len(right), "seen": seen}

    def _read(self, taught: Lessons) -> Any:
        """The model's outputs with all hidden states."""
        sight = Sight.of(taught.sees, taught.start, self.dtype)
        return self.model.model(**taught.inputs(), use_cache=False, output_hidden_states=True, sight=sight)

    def _loss(self, states: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits, targets = self._answers(states, labels)
        return F.cross_entropy(logits.float(), targets, reduction="sum") / max(1, len(targets))

    def _answers(self, states: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [answer tokens, vocabulary] and targets [answer tokens]; no other position needs logits."""
        asked = labels[:, 1:] != IGNORED
        return self.model.lm_head(states[:, :-1][asked]), labels[:, 1:][asked]

    def _patch_scores(self, seen: Patches) -> dict[str, torch.Tensor]:
        """Logits [b, patches, classes] of what each patch shows: against words, and as places."""
        features = torch.stack(list(self.model.get_image_features(seen.pixel_values).pooler_output))
        embedding = self.model.get_input_embeddings().weight
        signs = {name: embedding[ids] for name, ids in self.words.items()}
        signs |= {axis: places.to(self.device) for axis, places in self.places.items()}
        return {name: _SHARPNESS * features @ sign.T for name, sign in signs.items()}

    def _word_ids(self, name: str) -> torch.Tensor:
        """The first token of each word, after a space as in a sentence; letters are those on a sign."""
        space = "" if name == "letter" else " "
        tokenizer = self.processor.tokenizer
        ids = [tokenizer.encode(f"{space}{word}", add_special_tokens=False)[0] for word in SEEN[name]]
        return torch.tensor(ids, device=self.device)


def _in_order(many: int, width: int, lot: torch.Generator) -> torch.Tensor:
    """Vectors of the first to the last row, float32 [many, width], of the size of words: the nearer, the more alike."""
    turns = torch.arange(1, 5)
    waves = torch.cos(pi * turns * (torch.arange(many)[:, None] + 0.5) / many) / turns.sqrt()
    codes = waves @ torch.randn(len(turns), width, generator=lot)
    scaled: torch.Tensor = F.normalize(codes, dim=-1) * width**0.5
    return scaled


def _numbers(step: int, many: int) -> range:
    return range(step * many, (step + 1) * many)
