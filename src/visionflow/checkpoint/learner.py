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

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from math import pi
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from visionflow.checkpoint.attention import NAME, Sight
from visionflow.checkpoint.build import Geometry, build_model, build_processor, learned_vocabulary
from visionflow.checkpoint.data import Hiding, Lessons, Teacher
from visionflow.checkpoint.load import load_folder
from visionflow.checkpoint.muon import Muon
from visionflow.checkpoint.seen import NOTHING, SEEN, Patches, patches
from visionflow.checkpoint.sources import Drawn, Source
from visionflow.checkpoint.tensors import IGNORED
from visionflow.errors import VisionFlowError
from visionflow.scenes import course

_SHARPNESS = 0.2
"""Patches are scored by products with word embeddings, times this: so features come out about as large as words."""

Phase = Literal["tower", "language"]


@dataclass(frozen=True)
class Recipe:
    """What training is, apart from how long it takes; shares are of the whole budget.

    Every `pairs_every`-th step is about two pictures a row once the course has come to `pairs_from`.
    """

    geometry: Geometry = field(default_factory=Geometry)
    tower_pictures: int = 16
    pictures: int = 6
    chunks: int = 8
    pairs_every: int = 6
    pairs_from: float = 0.5
    hiding: Hiding = field(default_factory=Hiding)
    tower_share: float = 0.039
    easy_share: float = 0.3
    ground_weight: float = 0.2
    meant_layers: int = 8
    meant_weight: float = 0.5
    look_every: int = 5
    tower_rate: float = 2e-3
    later_tower_rate: float = 5e-4
    language_rate: float = 2e-3
    warm_up_steps: int = 100
    decay_share: float = 0.3
    final_rate: float = 0.02
    weight_decay: float = 0.01
    clip: float = 1.0
    validation_pictures: int = 32
    seed: int = 0


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
        self._take(build_processor(recipe.geometry, learned_vocabulary(recipe.geometry, self.source.everything())))
        self.compiled = compiled
        self._teach(build_model(recipe.geometry, self.processor.tokenizer).to(device))
        # Fixed, and as large as words: learned heads are content with a trace, and nobody can read where things are.
        grid, width = recipe.geometry.grid, recipe.geometry.text_width
        lot = torch.Generator().manual_seed(recipe.seed)  # its own: what else is drawn by lot changes with the recipe
        self.places = {axis: _in_order(grid, width, lot) for axis in ("row", "column")}
        self.places["first"] = torch.randn(2, width, generator=lot)
        self.enter("tower")

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
            return self._learnt(self._tower_loss, number)
        # The tower is to say what is on a patch, not to think about the question.
        self.tower.requires_grad_(not self.source.known)
        loss = self._learnt(self._language_loss, number, within)
        self.tower.requires_grad_(True)
        if self.source.known and number % self.recipe.look_every == 0:
            self._learnt(self._tower_loss, number)
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
            return self._seen_right() if self.phase == "tower" else self._told_right()

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
        self._take(build_processor(self.recipe.geometry, vocabulary))
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
        self._take(processor)
        self.enter("language")  # the optimisers so far hold the old model's parameters

    def _teach(self, model: LlavaForConditionalGeneration) -> None:
        self.model = model
        self.model.model.language_model.set_attn_implementation(NAME)
        if self.compiled:
            for layer in self.model.model.language_model.layers:
                layer.compile(dynamic=False)  # rows have one of two lengths

    def _take(self, processor: LlavaProcessor) -> None:
        self.processor = processor
        self.teacher = Teacher(processor, self.recipe.chunks, self.source)
        self.words = {name: self._word_ids(name) for name in SEEN}

    def _tower_loss(self, number: int) -> torch.Tensor:
        seen = patches(self.processor, "train", _numbers(number, self.recipe.tower_pictures)).to(self.device)
        losses = []
        for name, logits in self._patch_scores(seen).items():
            weight = torch.ones(logits.shape[-1], device=self.device)
            if NOTHING in SEEN.get(name, ()):
                weight[-1] = self.recipe.ground_weight  # most patches are ground: they would drown the objects
            targets = getattr(seen, name).flatten()
            losses.append(F.cross_entropy(logits.float().flatten(0, 1), targets, weight, ignore_index=IGNORED))
        return torch.stack(losses).mean()

    def _seen_right(self) -> dict[str, float]:
        seen = patches(self.processor, "validation", range(self.recipe.validation_pictures)).to(self.device)
        right = {}
        for name, logits in self._patch_scores(seen).items():
            targets = getattr(seen, name)
            asked = (targets != IGNORED) & (seen.shape != SEEN["shape"].index(NOTHING) if name != "ground" else True)
            right[name] = float((logits.argmax(-1) == targets)[asked].float().mean())
        return right | {"all": min(right.values())}

    def _language_loss(self, number: int, within: float) -> torch.Tensor:
        recipe = self.recipe
        progress = within / recipe.easy_share if recipe.easy_share else 1.0
        two = self.source.pairs and progress >= recipe.pairs_from and number % recipe.pairs_every == 0
        numbers = _numbers(number, recipe.pictures)
        taught = self.teacher.lessons("train", numbers, course(progress), 1 + two, recipe.hiding).to(self.device)
        out = self._read(taught)
        halfway = self.model.model.language_model.norm(out.hidden_states[recipe.meant_layers])
        said, meant = self._loss(out.last_hidden_state, taught.labels), self._loss(halfway, taught.meant)
        return said + recipe.meant_weight * meant

    def _told_right(self) -> dict[str, float]:
        """By kind; `all` is the mean over kinds, `seen` what the tower sees worst."""
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
        seen = min(self._seen_right().values())
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


def _in_order(many: int, width: int, lot: torch.Generator) -> torch.Tensor:
    """Vectors of the first to the last row, float32 [many, width], of the size of words: the nearer, the more alike."""
    turns = torch.arange(1, 5)
    waves = torch.cos(pi * turns * (torch.arange(many)[:, None] + 0.5) / many) / turns.sqrt()
    codes = waves @ torch.randn(len(turns), width, generator=lot)
    scaled: torch.Tensor = F.normalize(codes, dim=-1) * width**0.5
    return scaled


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
