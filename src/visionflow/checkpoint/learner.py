"""One optimiser step, in each of the two phases of the recipe.

`tower`: the vision tower and the projector learn what each patch shows, in the words of the language model: a patch of
a red circle is to be near the embeddings of "red" and "circle", so that the second phase finds its answers half said.
`language`: with the tower at rest, the projector and the language model learn to answer, many questions about a picture
side by side in one sequence, loss on the answers only. Beside them go drills without a picture. Where a letter is to be
said, some layers before the last have to know what it stands for: two steps of thought, each with its own lesson.
Both go through the stock forward of the model. Muon trains the matrices, AdamW the rest.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from visionflow.checkpoint.build import Geometry, build_model, build_processor
from visionflow.checkpoint.data import IGNORED, SEEN, Drills, Lessons, Patches, Teacher, patches
from visionflow.checkpoint.load import load_folder
from visionflow.checkpoint.muon import Muon
from visionflow.errors import VisionFlowError
from visionflow.scenes import FULL, Course, course, scene_rng

_SHARPNESS = 0.2
"""Patches are scored by products with word embeddings, times this: so features come out about as large as words."""

Phase = Literal["tower", "language"]


@dataclass(frozen=True)
class Recipe:
    """What training is, apart from how long it takes; shares are of the whole budget."""

    geometry: Geometry = field(default_factory=Geometry)
    tower_pictures: int = 16
    pictures: int = 8
    length: int = 448
    drills: int = 32
    tower_share: float = 0.15
    easy_share: float = 0.5
    ground_weight: float = 0.2
    drill_weight: float = 0.5
    meant_layers: int = 5
    meant_weight: float = 0.5
    tower_rate: float = 2e-3
    language_rate: float = 2e-3
    warm_up_share: float = 0.02
    final_rate: float = 0.02
    weight_decay: float = 0.01
    clip: float = 1.0
    validation_pictures: int = 24
    seed: int = 0


class Learner:
    """The model in training: its weights, its optimisers and the phase they are in."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.device = device
        self._take(build_processor(recipe.geometry))
        self.model: LlavaForConditionalGeneration = build_model(recipe.geometry, self.processor.tokenizer).to(device)
        # Fixed, and as large as words: learned heads are content with a trace, and nobody can read where things are.
        self.places = {
            axis: torch.randn(recipe.geometry.grid, recipe.geometry.text_width) for axis in ("row", "column")
        }
        self.enter("tower")

    def enter(self, phase: Phase) -> None:
        """Begin a phase with fresh optimisers over what that phase trains."""
        self.phase: Phase = phase
        inner = self.model.model
        words, head = self.model.get_input_embeddings(), self.model.lm_head
        lessons_of: dict[Phase, list[nn.Module]] = {
            "tower": [inner.vision_tower, inner.multi_modal_projector, words],
            "language": [inner.multi_modal_projector, inner.language_model, head],
        }
        self.model.requires_grad_(False)
        self.trained = list(_parameters(lessons_of[phase]))
        for parameter in self.trained:
            parameter.requires_grad_(True)
        self.rate = self.recipe.tower_rate if phase == "tower" else self.recipe.language_rate
        decay = self.recipe.weight_decay
        # What has a row per word or position is a table, not a map, and the patch kernel is 4-D: neither is Muon's.
        tables = {words.weight, head.weight, inner.vision_tower.embeddings.position_embedding.weight}
        matrices = [p for p in self.trained if p.ndim == 2 and p not in tables]
        others = [p for p in self.trained if p.ndim != 2 or p in tables]
        self.optimisers: list[torch.optim.Optimizer] = [
            Muon(matrices, lr=self.rate, weight_decay=decay),
            torch.optim.AdamW(others, lr=self.rate, betas=(0.9, 0.98), weight_decay=decay),
        ]

    def step(self, number: int, within: float) -> float:
        """Step `number` of the run, `within` (0 to 1) of the way through the phase; returns the loss."""
        for optimiser in self.optimisers:
            optimiser.param_groups[0]["lr"] = self.rate * self._schedule(within)
        self.model.train()
        with self._autocast():
            loss = self._tower_loss(number) if self.phase == "tower" else self._language_loss(number, within)
        self.model.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.trained, self.recipe.clip)
        for optimiser in self.optimisers:
            optimiser.step()
        return float(loss.detach())

    @torch.no_grad()
    def validate(self) -> float:
        """The share that is right on validation scenes: of object patches (all they show), or of answer tokens."""
        self.model.eval()
        numbers = range(self.recipe.validation_pictures)
        with self._autocast():
            if self.phase == "tower":
                seen = patches(self.processor, "validation", numbers).to(self.device)
                scores = self._patch_scores(seen)
                right = [scores[name].argmax(-1) == getattr(seen, name) for name in SEEN]
                return float(torch.stack(right).all(0)[seen.row != IGNORED].float().mean())
            taught = self.teacher.lessons("validation", numbers).to(self.device)
            states = self.model.model(**taught.inputs(), use_cache=False).last_hidden_state
            logits, targets = self._answers(states, taught.labels)
        # End tokens are nearly always right and would only flatter the figure.
        spoken = targets != self.processor.tokenizer.eos_token_id
        return float((logits.argmax(-1) == targets)[spoken].float().mean())

    def state(self) -> dict[str, Any]:
        """Everything that a later `load` needs to go on exactly here."""
        return {
            "phase": self.phase,
            "model": self.model.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self.enter(state["phase"])
        self.model.load_state_dict(state["model"])
        for optimiser, kept in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(kept)

    def adopt(self, folder: Path) -> None:
        """Take over the weights and the vocabulary of a finished model, and begin the language phase with them.

        Raises:
            VisionFlowError: it has other sizes than this recipe.
        """
        model, processor = load_folder(folder, device=self.device)
        if _sizes(model) != _sizes(self.model):
            raise VisionFlowError(f"{folder} is a model of other sizes than the recipe's: start from one of its own")
        self.model = model
        self._take(processor)
        self.enter("language")  # the optimisers so far hold the old model's parameters

    def _take(self, processor: LlavaProcessor) -> None:
        self.processor = processor
        self.teacher = Teacher(processor, self.recipe.length)
        self.words = {name: self._word_ids(words) for name, words in SEEN.items()}

    def _tower_loss(self, number: int) -> torch.Tensor:
        seen = patches(self.processor, "train", _numbers(number, self.recipe.tower_pictures)).to(self.device)
        losses = []
        for name, logits in self._patch_scores(seen).items():
            weight = torch.ones(logits.shape[-1], device=self.device)
            if name in ("shape", "colour", "size"):
                weight[-1] = self.recipe.ground_weight  # most patches are ground: they would drown the objects
            targets = getattr(seen, name).flatten()
            losses.append(F.cross_entropy(logits.float().flatten(0, 1), targets, weight, ignore_index=IGNORED))
        return torch.stack(losses).mean()

    def _language_loss(self, number: int, within: float) -> torch.Tensor:
        numbers = _numbers(number, self.recipe.pictures)
        taught = self.teacher.lessons("train", numbers, self._course(within)).to(self.device)
        drills = self.teacher.drills(scene_rng("train", number), self.recipe.drills).to(self.device)
        return self._answer_loss(taught) + self.recipe.drill_weight * self._answer_loss(drills)

    def _answer_loss(self, taught: Lessons | Drills) -> torch.Tensor:
        """Cross-entropy of the answers, and after `meant_layers` layers of what their letters stand for."""
        out = self.model.model(**taught.inputs(), use_cache=False, output_hidden_states=True)
        halfway = self.model.model.language_model.norm(out.hidden_states[self.recipe.meant_layers])
        said, meant = self._loss(out.last_hidden_state, taught.labels), self._loss(halfway, taught.meant)
        return said + self.recipe.meant_weight * meant

    def _loss(self, states: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits, targets = self._answers(states, labels)
        return F.cross_entropy(logits.float(), targets, reduction="sum") / max(1, len(targets))

    def _course(self, within: float) -> Course:
        return course(within / self.recipe.easy_share) if self.recipe.easy_share else FULL

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

    def _word_ids(self, words: tuple[str, ...]) -> torch.Tensor:
        """The tokens of the words, and last the image token's, which stands for the bare ground."""
        tokenizer = self.processor.tokenizer
        ids = [tokenizer.encode(f" {word}", add_special_tokens=False)[0] for word in words]
        return torch.tensor([*ids, self.processor.image_token_id], device=self.device)

    def _schedule(self, within: float) -> float:
        """A short linear rise, then half a cosine down to `final_rate` of the peak."""
        if within < self.recipe.warm_up_share:
            return max(within / self.recipe.warm_up_share, 0.02)
        after = (within - self.recipe.warm_up_share) / (1 - self.recipe.warm_up_share)
        low = self.recipe.final_rate
        return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * min(after, 1.0)))

    def _autocast(self) -> AbstractContextManager[Any]:
        """bf16 on a GPU; a CPU without bf16 units is slower with it than without."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")


def _parameters(modules: Iterable[nn.Module]) -> Iterator[nn.Parameter]:
    for module in modules:
        yield from module.parameters()


def _sizes(model: nn.Module) -> dict[str, torch.Size]:
    """The shapes of all weights but those that have a row per word."""
    return {
        name: weight.shape
        for name, weight in model.state_dict().items()
        if not name.endswith(("embed_tokens.weight", "lm_head.weight"))
    }


def _numbers(step: int, many: int) -> range:
    return range(step * many, (step + 1) * many)
