"""One optimiser step, in each of the two phases of the recipe.

`tower`: the vision tower and the projector learn what each patch shows, in the words of the language model: a patch of
a red circle is to be near the embeddings of "red" and "circle", so that the second phase finds its answers half said.
`whole`: the whole model learns to answer, several questions per picture in one sequence, loss on the answers only,
while the tower's own lesson goes on beside it.
Both go through the stock forward of the model.
"""

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from visionflow.checkpoint.build import Geometry, build_model, build_processor
from visionflow.checkpoint.data import IGNORED, Conversations, Patches, conversations, draw_scenes, patches
from visionflow.scenes import COLOURS, SHAPES, Split
from visionflow.scenes.world import SIZES

Phase = Literal["tower", "whole"]


@dataclass(frozen=True)
class Recipe:
    """What training is, apart from how long it takes; rates are for AdamW, shares are of the whole budget."""

    geometry: Geometry = field(default_factory=Geometry)
    tower_pictures: int = 16
    pictures: int = 16
    turns: int = 8
    longest: int = 304
    tower_share: float = 0.3
    ground_weight: float = 0.15
    shape_weight: float = 6.0
    first_rate: float = 1.5e-3
    learning_rate: float = 8e-4
    tower_slowdown: float = 1.5
    patch_weight: float = 0.5
    warm_up_share: float = 0.03
    final_rate: float = 0.02
    weight_decay: float = 0.02
    clip: float = 1.0
    validation_pictures: int = 48
    seed: int = 0


class Learner:
    """The model in training: its weights, its optimiser and the phase they are in."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.device = device
        self.processor: LlavaProcessor = build_processor(recipe.geometry)
        self.model: LlavaForConditionalGeneration = build_model(recipe.geometry, self.processor.tokenizer).to(device)
        self.places = nn.ModuleDict(
            {axis: nn.Linear(recipe.geometry.text_width, recipe.geometry.grid) for axis in ("row", "column")}
        ).to(device)
        self.outline = nn.Linear(recipe.geometry.text_width, recipe.geometry.patch**2).to(device)
        self.words = {
            "shape": self._word_ids(SHAPES),
            "colour": self._word_ids(tuple(COLOURS)),
            "size": self._word_ids(SIZES),
        }
        self.enter("tower")

    def enter(self, phase: Phase) -> None:
        """Begin a phase with a fresh optimiser over what that phase trains."""
        self.phase: Phase = phase
        recipe = self.recipe
        tower = [*self.model.model.vision_tower.parameters(), *self.model.model.multi_modal_projector.parameters()]
        tower += [*self.places.parameters(), *self.outline.parameters()]
        if phase == "tower":
            groups = [{"params": [*tower, self.model.get_input_embeddings().weight], "peak": recipe.first_rate}]
        else:
            text = [*self.model.model.language_model.parameters()]
            slow = recipe.learning_rate / recipe.tower_slowdown
            groups = [{"params": tower, "peak": slow}, {"params": text, "peak": recipe.learning_rate}]
        self.optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=recipe.weight_decay)

    def step(self, number: int, within: float) -> float:
        """Step `number` of the run, `within` (0 to 1) of the way through the phase; returns the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * self._schedule(within)
        many = self.recipe.tower_pictures if self.phase == "tower" else self.recipe.pictures
        seen, said = self._batch("train", range(number * many, (number + 1) * many))
        self.model.train()
        with self._autocast():
            if said is None:
                loss = self._patch_loss(self._features(seen), seen)
            else:
                logits, targets, features = self._answers(seen, said)
                loss = F.cross_entropy(logits.float(), targets)
                loss = loss + self.recipe.patch_weight * self._patch_loss(features, seen)
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, self.recipe.clip)
        self.optimiser.step()
        return float(loss.detach())

    @torch.no_grad()
    def validate(self) -> float:
        """The share that is right on validation scenes: of object patches (shape and colour), or of answer tokens."""
        self.model.eval()
        seen, said = self._batch("validation", range(self.recipe.validation_pictures))
        with self._autocast():
            if said is None:
                scores = self._patch_scores(self._features(seen))
                there = seen.row != IGNORED
                right = (scores["shape"].argmax(-1) == seen.shape) & (scores["colour"].argmax(-1) == seen.colour)
                return float(right[there].float().mean())
            logits, targets, _ = self._answers(seen, said)
        # End tokens are nearly always right and would only flatter the figure.
        spoken = targets != self.processor.tokenizer.eos_token_id
        return float((logits.argmax(-1) == targets)[spoken].float().mean())

    def state(self) -> dict[str, Any]:
        """Everything that a later `load` needs to go on exactly here."""
        return {
            "phase": self.phase,
            "model": self.model.state_dict(),
            "places": self.places.state_dict(),
            "outline": self.outline.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self.enter(state["phase"])
        self.model.load_state_dict(state["model"])
        self.places.load_state_dict(state["places"])
        self.outline.load_state_dict(state["outline"])
        self.optimiser.load_state_dict(state["optimiser"])

    def _batch(self, split: Split, indices: Iterable[int]) -> tuple[Patches, Conversations | None]:
        """Pictures and, where the phase is about more than pictures, conversations about them."""
        drawn = draw_scenes(split, indices)
        seen = patches(self.processor, drawn).to(self.device)
        if self.phase == "tower":
            return seen, None
        return seen, conversations(self.processor, drawn, self.recipe.turns, self.recipe.longest).to(self.device)

    def _features(self, seen: Patches) -> torch.Tensor:
        """What the language model would see of the pictures, [b, patches, width]."""
        return torch.stack(list(self.model.get_image_features(seen.pixel_values).pooler_output))

    def _answers(self, seen: Patches, said: Conversations) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits [answer tokens, vocabulary], targets [answer tokens], and the pictures' features [b, patches, width].

        Only positions before an answer token get logits; no other is of use.
        """
        out = self.model.model(input_ids=said.input_ids, pixel_values=seen.pixel_values, use_cache=False)
        asked = said.labels[:, 1:] != IGNORED
        features = out.image_hidden_states.view(len(seen.pixel_values), -1, out.image_hidden_states.shape[-1])
        return self.model.lm_head(out.last_hidden_state[:, :-1][asked]), said.labels[:, 1:][asked], features

    def _patch_scores(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits [b, patches, classes] of what each patch shows: against words, and as places."""
        embedding = self.model.get_input_embeddings().weight
        scores = {name: features @ embedding[ids].T for name, ids in self.words.items()}
        return scores | {axis: head(features) for axis, head in self.places.items()}

    def _patch_loss(self, features: torch.Tensor, seen: Patches) -> torch.Tensor:
        losses = []
        for name, logits in self._patch_scores(features).items():
            weight = torch.ones(logits.shape[-1], device=self.device)
            if name in self.words:
                # Four patches in five are ground: at full weight they would drown what the objects have to teach.
                weight[-1] = self.recipe.ground_weight
            targets = getattr(seen, name).flatten()
            loss = F.cross_entropy(logits.float().flatten(0, 1), targets, weight, ignore_index=IGNORED)
            losses.append(self.recipe.shape_weight * loss if name == "shape" else loss)
        partly = (seen.filled.amax(-1) > 0) & (seen.filled.amin(-1) < 1)
        filled = self.outline(features)[partly].float()
        return torch.stack(losses).mean() + F.binary_cross_entropy_with_logits(filled, seen.filled[partly])

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
