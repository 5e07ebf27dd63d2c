"""One optimiser step, in each of the two phases of the recipe.

`tower`: the vision tower and the projector learn what each patch shows, in the words of the language model: a patch of
a red circle is to be near the embeddings of "red" and "circle", so that the second phase finds its answers half said.
`whole`: the whole model learns to answer, several questions per picture in one sequence, loss on the answers only.
Both go through the stock forward of the model.
"""

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from visionflow.checkpoint.build import Geometry, build_model, build_processor
from visionflow.checkpoint.data import IGNORED, Conversations, LabelledPatches, conversations, labelled_patches
from visionflow.scenes import COLOURS, SHAPES
from visionflow.scenes.world import SIZES

Phase = Literal["tower", "whole"]


@dataclass(frozen=True)
class Recipe:
    """What training is, apart from how long it takes; rates are for AdamW, shares are of the whole budget."""

    geometry: Geometry = field(default_factory=Geometry)
    pictures: int = 32
    turns: int = 8
    longest: int = 304
    tower_share: float = 0.18
    first_rate: float = 1.5e-3
    learning_rate: float = 8e-4
    tower_slowdown: float = 3.0
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
        self.words = {
            "shape": self._word_ids(SHAPES),
            "colour": self._word_ids(tuple(COLOURS)),
            "size": self._word_ids(SIZES),
        }
        self.enter("tower")

    def enter(self, phase: Phase) -> None:
        """Begin a phase with a fresh optimiser over what that phase trains."""
        self.phase: Phase = phase
        vision = [*self.model.model.vision_tower.parameters(), *self.model.model.multi_modal_projector.parameters()]
        text = [*self.model.model.language_model.parameters()]
        words = self.model.get_input_embeddings().weight
        rate, decay = self.recipe.learning_rate, self.recipe.weight_decay
        if phase == "tower":
            groups = [{"params": [*vision, words, *self.places.parameters()], "peak": self.recipe.first_rate}]
        else:
            groups = [{"params": vision, "peak": rate / self.recipe.tower_slowdown}, {"params": text, "peak": rate}]
        self.optimiser = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), weight_decay=decay)

    def step(self, number: int, within: float) -> float:
        """Step `number` of the run, `within` (0 to 1) of the way through the phase; returns the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * self._schedule(within)
        first = number * self.recipe.pictures
        indices = range(first, first + self.recipe.pictures)
        self.model.train()
        with self._autocast():
            if self.phase == "tower":
                loss = self._tower_loss(labelled_patches(self.processor, "train", indices).to(self.device))
            else:
                batch = conversations(self.processor, "train", indices, self.recipe.turns, self.recipe.longest)
                batch = batch.to(self.device)
                logits, targets = self._answers(batch)
                loss = F.cross_entropy(logits.float(), targets)
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
        indices = range(self.recipe.validation_pictures)
        with self._autocast():
            if self.phase == "tower":
                patches = labelled_patches(self.processor, "validation", indices).to(self.device)
                scores = self._patch_scores(patches.pixel_values)
                there = patches.row != IGNORED
                right = (scores["shape"].argmax(-1) == patches.shape) & (scores["colour"].argmax(-1) == patches.colour)
                return float(right[there].float().mean())
            batch = conversations(self.processor, "validation", indices, self.recipe.turns, self.recipe.longest).to(
                self.device
            )
            logits, targets = self._answers(batch)
        # End tokens are nearly always right and would only flatter the figure.
        spoken = targets != self.processor.tokenizer.eos_token_id
        return float((logits.argmax(-1) == targets)[spoken].float().mean())

    def state(self) -> dict[str, Any]:
        """Everything that a later `load` needs to go on exactly here."""
        return {
            "phase": self.phase,
            "model": self.model.state_dict(),
            "places": self.places.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self.enter(state["phase"])
        self.model.load_state_dict(state["model"])
        self.places.load_state_dict(state["places"])
        self.optimiser.load_state_dict(state["optimiser"])

    def _answers(self, batch: Conversations) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [answer tokens, vocabulary] and targets [answer tokens]; all other positions need no logits."""
        hidden = self.model.model(input_ids=batch.input_ids, pixel_values=batch.pixel_values, use_cache=False)
        asked = batch.labels[:, 1:] != IGNORED
        return self.model.lm_head(hidden.last_hidden_state[:, :-1][asked]), batch.labels[:, 1:][asked]

    def _patch_scores(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits [b, patches, classes] of what the language model would see: against words, and as places."""
        features = torch.stack(list(self.model.get_image_features(pixels).pooler_output))
        embedding = self.model.get_input_embeddings().weight
        scores = {name: features @ embedding[ids].T for name, ids in self.words.items()}
        return scores | {axis: head(features) for axis, head in self.places.items()}

    def _word_ids(self, words: tuple[str, ...]) -> torch.Tensor:
        """The tokens of the words, and last the image token's, which stands for the bare ground."""
        tokenizer = self.processor.tokenizer
        ids = [tokenizer.encode(f" {word}", add_special_tokens=False)[0] for word in words]
        return torch.tensor([*ids, self.processor.image_token_id], device=self.device)

    def _tower_loss(self, patches: LabelledPatches) -> torch.Tensor:
        scores = self._patch_scores(patches.pixel_values)
        losses = [
            F.cross_entropy(logits.float().flatten(0, 1), getattr(patches, name).flatten(), ignore_index=IGNORED)
            for name, logits in scores.items()
        ]
        return torch.stack(losses).mean()

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
