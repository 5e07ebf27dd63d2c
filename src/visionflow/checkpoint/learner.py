"""One optimiser step, in each of the two phases of the recipe.

`tower`: the vision tower and the projector learn what each patch shows and where it is. What is there is said in the
words of the language model (a patch of a red circle is to be near the embeddings of "red" and "circle"), so that the
second phase finds its answers half said; places are fixed vectors in which near rows are alike, so that "above" is
one direction.
`language`: the projector and the language model learn to answer, many lessons about a picture side by side in one row,
loss on the answers only. The tower has no part in that, but every few steps it looks at patches again. Where a letter
is to be said, some layers before the last have to know what it stands for.
All goes through the stock forward of the model. Muon trains the matrices, AdamW the rest.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from visionflow.checkpoint.attention import NAME
from visionflow.checkpoint.build import build_model, build_processor, learned_vocabulary
from visionflow.checkpoint.load import load_folder
from visionflow.checkpoint.muon import Muon
from visionflow.checkpoint.objectives import Objectives
from visionflow.checkpoint.recipe import Phase, Recipe
from visionflow.checkpoint.sources import Drawn, Source
from visionflow.errors import VisionFlowError


class Learner:
    """The model in training: its weights, its optimisers and the phase they are in."""

    def __init__(
        self, recipe: Recipe, device: torch.device, compiled: bool = False, source: Source | None = None
    ) -> None:
        """`compiled` layers take a third less work, but half a minute before the first step, and a C++ compiler."""
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.device = device
        self.dtype = torch.bfloat16 if multiplies_in_bf16(device) else torch.float32
        """Of products of matrices; weights, sums and losses are fp32."""
        self.source = source or Drawn()
        self.objectives = Objectives(recipe, device, self.dtype, self.source)
        vocabulary = learned_vocabulary(recipe.geometry, self.source.everything())
        self.objectives.take(build_processor(recipe.geometry, vocabulary))
        self.compiled = compiled
        self._teach(build_model(recipe.geometry, self.processor.tokenizer).to(device))
        self.enter("tower")

    @property
    def model(self) -> LlavaForConditionalGeneration:
        """In training."""
        return self.objectives.model

    @property
    def processor(self) -> LlavaProcessor:
        """With the vocabulary of the run."""
        return self.objectives.processor

    def enter(self, phase: Phase) -> None:
        """Begin a phase with fresh optimisers over what that phase trains."""
        self.phase: Phase = phase
        self.steps_since_entered = 0
        inner, recipe = self.model.model, self.recipe
        self.tower = inner.vision_tower
        words, head = self.model.get_input_embeddings(), self.model.lm_head
        groups: dict[Phase, list[tuple[float, list[nn.Module]]]] = {
            "tower": [(recipe.tower_rate, [self.tower, inner.multi_modal_projector, words])],
            "language": [
                (recipe.language_rate, [inner.multi_modal_projector, inner.language_model, head]),
                (recipe.later_tower_rate, [self.tower]),
            ],
        }
        self.model.requires_grad_(False).train()
        self.optimisers: list[torch.optim.Optimizer] = []
        self.rates: list[float] = []
        for rate, modules in groups[phase]:
            trained = list(_parameters(modules))
            for parameter in trained:
                parameter.requires_grad_(True)
            self.optimisers += self._optimisers(trained, rate)
            self.rates += [rate] * 2

    def _optimisers(self, trained: list[nn.Parameter], rate: float) -> list[torch.optim.Optimizer]:
        """Muon for maps; what has a row per word or position is a table, and the patch kernel is 4-D."""
        words, head = self.model.get_input_embeddings(), self.model.lm_head
        tables = {words.weight, head.weight, self.tower.embeddings.position_embedding.weight}
        maps = [p for p in trained if p.ndim == 2 and p not in tables]
        others = [p for p in trained if p.ndim != 2 or p in tables]
        decay = self.recipe.weight_decay
        return [
            Muon(maps, lr=rate, weight_decay=decay, dtype=self.dtype),
            torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=decay),
        ]

    def step(self, number: int, within: float) -> float:
        """Step `number` of the run, `within` (0 to 1) of the way through the phase; returns the loss."""
        for optimiser, rate in zip(self.optimisers, self.rates, strict=True):
            optimiser.param_groups[0]["lr"] = rate * self._schedule(within)
        self.steps_since_entered += 1
        self.model.zero_grad()
        loss = self._backward(number, within)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        for optimiser in self.optimisers:
            optimiser.step()
        return loss

    def _backward(self, number: int, within: float) -> float:
        """Gradients of all that is learnt in this step; returns the loss of the phase."""
        if self.phase == "tower":
            return self._learnt(self.objectives.tower, number)
        # The tower is to say what is on a patch, not to think about the question.
        self.tower.requires_grad_(not self.source.known)
        loss = self._learnt(self.objectives.language, number, within)
        self.tower.requires_grad_(True)
        if self.source.known and number % self.recipe.look_every == 0:
            self._learnt(self.objectives.tower, number)
        return loss

    def _learnt(self, lesson: Callable[..., torch.Tensor], *of: float) -> float:
        with self._autocast():
            loss = lesson(*of)
        torch.autograd.backward(loss)
        return float(loss.detach())

    def validate(self) -> dict[str, float]:
        """Shares right on validation pictures: of the patches, by what they show, or of the lessons, by kind.

        A lesson is right when every token of its answers is the likeliest one: what greedy decoding would say. Read
        as in training, gradients and all, because layers compiled for that would be compiled again without.
        """
        with self._autocast():
            return self.objectives.seen_right() if self.phase == "tower" else self.objectives.told_right()

    def state(self) -> dict[str, Any]:
        """Everything that a later `load` needs to go on exactly here."""
        return {
            "phase": self.phase,
            "tokenizer": self.vocabulary(),
            "steps_since_entered": self.steps_since_entered,
            "model": self.model.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self.go_on(state["phase"], state["model"], state["tokenizer"])
        for optimiser, kept in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
        self.steps_since_entered = state["steps_since_entered"]

    def go_on(self, phase: Phase, weights: dict[str, torch.Tensor], vocabulary: str) -> None:
        """Go on with these weights, in that phase, with fresh optimisers; `vocabulary` is the tokenizer as JSON."""
        self.objectives.take(build_processor(self.recipe.geometry, vocabulary))
        words = self.model.get_input_embeddings().num_embeddings
        if len(self.processor.tokenizer) != words:
            self.model.resize_token_embeddings(len(self.processor.tokenizer), mean_resizing=False)
        self.model.load_state_dict(weights)
        self.enter(phase)

    def vocabulary(self) -> str:
        """The tokenizer as JSON: the lessons that it was made from may change during a run."""
        said: str = self.processor.tokenizer.backend_tokenizer.to_str()
        return said

    def adopt(self, folder: Path) -> None:
        """Take over the weights and the vocabulary of a finished model, and begin the language phase with them.

        Raises:
            VisionFlowError: it has other sizes than this recipe.
        """
        model, processor = load_folder(folder, device=self.device)
        if _sizes(model) != _sizes(self.model):
            raise VisionFlowError(f"{folder} is a model of other sizes than the recipe's: start from one of its own")
        self._teach(model)
        self.objectives.take(processor)
        self.enter("language")  # the optimisers so far hold the old model's parameters

    def _teach(self, model: LlavaForConditionalGeneration) -> None:
        self.objectives.model = model
        self.model.model.language_model.set_attn_implementation(NAME)
        if self.compiled:
            for layer in self.model.model.language_model.layers:
                layer.compile(dynamic=False)  # rows have one of two lengths

    def _schedule(self, within: float) -> float:
        """A short linear rise, a long plateau, and at the end of the phase a linear fall to `final_rate`."""
        recipe = self.recipe
        rise = min(1.0, (self.steps_since_entered + 1) / recipe.warm_up_steps)
        fall = min(1.0, (1 - within) / recipe.decay_share)
        return rise * max(fall, recipe.final_rate)

    def _autocast(self) -> AbstractContextManager[Any]:
        """bf16 where the processor multiplies in it (a GPU, a CPU with AMX): elsewhere it is slower than fp32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16)


def multiplies_in_bf16(device: torch.device) -> bool:
    """Whether the device has units for products of bf16 matrices."""
    if device.type == "cpu":
        return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())
    return device.type == "cuda"


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
