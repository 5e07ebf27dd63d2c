"""What the runtime is checked against: written from the definitions, without the runtime's own code."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tests.tiny import IMAGE_TOKEN
from visionflow import Method
from visionflow.core import Block, Chosen, Cut, Plan, Positive, Shown, Tokens, Top
from visionflow.core.evidence import FromTokens

HIDDEN = torch.finfo(torch.float32).min


def image_columns(inputs: dict[str, Any], sample: int) -> list[int]:
    """Columns of the image tokens of one sample."""
    return torch.nonzero(inputs["input_ids"][sample] == IMAGE_TOKEN).flatten().tolist()


def instruction_columns(inputs: dict[str, Any], sample: int) -> list[int]:
    """Columns of the text tokens after the first image token; padding belongs to no group."""
    ids, mask = inputs["input_ids"][sample].tolist(), inputs["attention_mask"][sample].tolist()
    first = ids.index(IMAGE_TOKEN) if IMAGE_TOKEN in ids else len(ids)
    return [
        i for i, (token, real) in enumerate(zip(ids, mask, strict=True)) if real and i > first and token != IMAGE_TOKEN
    ]


def blocked_pairs(block: Block, inputs: dict[str, Any]) -> Tensor:
    """The pairs that `block` forbids, bool ``[batch, 1, tokens, tokens]``."""
    columns = {"image": image_columns, "instruction": instruction_columns, "system": lambda *_: []}  # causal
    batch, length = inputs["input_ids"].shape
    pairs = torch.zeros(batch, 1, length, length, dtype=torch.bool)
    for sample in range(batch):
        rows, keys = columns[block.target](inputs, sample), columns[block.source](inputs, sample)
        pairs[sample, 0, torch.tensor(rows, dtype=torch.long)[:, None], torch.tensor(keys, dtype=torch.long)] = True
    return pairs


@torch.no_grad()
def shorter(
    model: PreTrainedModel, inputs: dict[str, Any], trace: Any, compact: bool = False
) -> tuple[Tensor, list[int]]:
    """Logits of what is left of one sample, and its columns: layers run by hand, on shorter sequences after each cut.

    Tokens are at their columns, or, `compact`, at 0, 1, 2 and so on. A token that others are merged into is, before
    that layer, their mean and its own, weighted by how many each is.
    """
    decoder = model.model.language_model
    hidden = model(**inputs, output_hidden_states=True).hidden_states[0][0]
    states = dict(enumerate(hidden))
    sizes = dict.fromkeys(states, 1)
    stages = {stage.layer: stage for stage in trace.stages}
    for number, layer in enumerate(decoder.layers):
        if number in stages:
            kept, merged = stages[number].kept[0].tolist(), stages[number].merged
            groups = {column: [column] for column in states}
            for moved, target in merged[0].T.tolist() if merged else ():
                groups[target].append(moved)
            left = [column for column in states if column in kept or column not in image_columns(inputs, 0)]
            states = {
                column: torch.stack([states[each] * sizes[each] for each in groups[column]]).sum(0)
                / sum(sizes[each] for each in groups[column])
                for column in left
            }
            sizes = {column: sum(sizes[each] for each in groups[column]) for column in left}
        hidden, places = torch.stack(list(states.values()))[None], torch.tensor([list(states)])
        places = torch.arange(len(states))[None] if compact else places
        mask = torch.full((len(states),) * 2, HIDDEN, dtype=hidden.dtype).triu(1)[None, None]
        rotary = decoder.rotary_emb(hidden, places)
        hidden = layer(hidden, attention_mask=mask, position_ids=places, position_embeddings=rotary)
        states = dict(zip(states, hidden[0], strict=True))
    logits: Tensor = model.lm_head(decoder.norm(torch.stack(list(states.values()))))
    return logits, list(states)


@contextmanager
def merged_in_place(layers: Sequence[nn.Module], trace: Any, token_axis: int = 1) -> Iterator[None]:
    """Run all tokens, but before each cut's layer put the mean into the place of tokens that others are merged into.

    The oracle of merging where layers cannot be run by hand: with this, and the merged keys masked, drop equals mask.
    """
    batch = len(trace.stages[0].tokens.columns) if trace.stages else 0
    sizes: list[dict[int, int]] = [{} for _ in range(batch)]

    def put(stage: Any) -> Any:
        def hook(module: Any, args: Any) -> Any:
            hidden = args[0].clone()
            for stream in [hidden] if token_axis == 1 else hidden:
                for sample, moves in enumerate(stage.merged):
                    for target in {*moves[1].tolist()}:
                        group = [target, *moves[0][moves[1] == target].tolist()]
                        weights = torch.tensor([sizes[sample].get(each, 1) for each in group]).to(hidden)
                        stream[sample, target] = (stream[sample, group] * weights[:, None]).sum(0) / weights.sum()
            for sample, moves in enumerate(stage.merged):
                for moved, target in moves.T.tolist():
                    own = sizes[sample]
                    own[target] = own.get(target, 1) + own.get(moved, 1)
            return (hidden, *args[1:])

        return hook

    merging = [stage for stage in trace.stages if stage.merged is not None]
    handles = [layers[stage.layer].register_forward_pre_hook(put(stage)) for stage in merging]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def max_min(features: Tensor, count: int) -> list[int]:
    """Max-min diversity from its words, in fp64: places of the tokens ``[n, width]`` that are chosen, ascending."""
    unit = features.double() / features.double().norm(dim=1, keepdim=True)
    distance = (1 - unit @ unit.T).fill_diagonal_(torch.inf)
    distance[distance < 1e-9] = 0.0  # equal tokens tie
    chosen = [int(distance.min(1).values.argmax())]
    while len(chosen) < count:
        nearest = distance[:, chosen].min(1).values
        nearest[chosen] = -torch.inf
        chosen.append(int(nearest.argmax()))
    return sorted(chosen)


@contextmanager
def masked_from(
    model: PreTrainedModel, dropped: dict[int, list[list[int]]], inputs: dict[str, Any], blocks: Sequence[Block] = ()
) -> Iterator[None]:
    """Run all tokens of `inputs`, but from layer l on nobody reads the columns ``dropped[l][sample]``; and `blocks`."""

    def hide(layer: int) -> Any:
        def hook(module: Any, args: Any, kwargs: Any) -> Any:
            hidden, mask = args[0], kwargs["attention_mask"]
            batch, rows = hidden.shape[:2]
            keys = mask.shape[-1] if mask is not None else rows
            allowed = torch.ones(rows, keys, dtype=torch.bool).tril(keys - rows).expand(batch, 1, -1, -1)
            if mask is not None:
                allowed = (mask if mask.dtype == torch.bool else mask > HIDDEN).expand(batch, 1, -1, -1)
            allowed = allowed.clone()
            for at, samples in dropped.items():
                if at <= layer:
                    for sample, columns in enumerate(samples):
                        allowed[sample, :, :, columns] = False
            for block in blocks:
                if layer in block.layers:
                    allowed &= ~blocked_pairs(block, inputs)
            additive = torch.zeros(allowed.shape, dtype=hidden.dtype).masked_fill(~allowed, HIDDEN)
            return args, {**kwargs, "attention_mask": additive}

        return hook

    layers = model.model.language_model.layers
    handles = [layer.register_forward_pre_hook(hide(i), with_kwargs=True) for i, layer in enumerate(layers)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True, eq=False)
class Given(FromTokens):
    """Given columns of each sample."""

    samples: tuple[Tensor, ...]

    def show(self, tokens: Tokens) -> Shown:
        """1 for these, 0 for others."""
        batch = tokens.columns.shape[0]
        repeat = batch // len(self.samples)  # beams and returned sequences repeat each sample
        kept = [torch.isin(tokens.columns[row], self.samples[row // repeat]) for row in range(batch)]
        return Shown(torch.stack(kept).float())


@dataclass(frozen=True, eq=False)
class Into(Top):
    """Those with the highest scores; others go into given ones, as `Stage.merged` says, one entry per sample."""

    merges = True
    samples: tuple[Tensor, ...]

    def __call__(self, shown: Shown, tokens: Tokens, counts: tuple[int, ...]) -> Chosen:
        """The choice, and where the others go."""
        into = torch.arange(tokens.columns.shape[1]).repeat(len(counts), 1)
        for row, columns in enumerate(tokens.columns.tolist()):
            for moved, target in self.samples[row // (len(counts) // len(self.samples))].T.tolist():
                into[row, columns.index(moved)] = columns.index(target)
        return replace(super().__call__(shown, tokens, counts), into=into)


class Keep(Method):
    """A method that keeps given columns per sample, at given layers, and merges others into them where it is told."""

    name = "keep"

    def __init__(
        self, kept: dict[int, list[Tensor]], otherwise: Plan, merged: dict[int, list[Tensor]] | None = None
    ) -> None:
        self.kept = kept
        self.otherwise = otherwise
        self.select = {layer: Into(tuple(samples)) for layer, samples in (merged or {}).items()}

    def plan(self) -> Plan:
        """The cuts, and what else the method does."""
        return replace(self.otherwise, cuts=self.cuts(), adaptive=None)

    def cuts(self) -> tuple[Cut, ...]:
        """One cut per layer, of as many tokens as are given."""
        return tuple(
            Cut(layer, Positive(), Given(tuple(self.kept[layer])), self.select.get(layer, Top()))
            for layer in sorted(self.kept)
        )

    @classmethod
    def of(cls, trace: Any, method: Method) -> "Keep":
        """The kept set of a finished run of `method`."""
        merged = {stage.layer: stage.merged for stage in trace.stages if stage.merged is not None}
        return cls({stage.layer: stage.kept for stage in trace.stages}, method.plan(), merged)


def fingerprint(model: PreTrainedModel) -> dict[str, Any]:
    """What a scope may touch, to be compared: hooks, attributes, attention functions, all values of the configs."""
    modules = dict(model.named_modules())
    hooks = {
        f"{name}.{kind}": len(vars(module)[kind])
        for name, module in modules.items()
        for kind in vars(module)
        if kind.endswith("_hooks") or kind.startswith("_forward_")
    }
    configs = {name: module.config for name, module in modules.items() if hasattr(module, "config")}
    return {
        "hooks": hooks,
        "own": {name: set(vars(module)) for name, module in modules.items()},
        "configs": {name: id(config) for name, config in configs.items()},
        "settings": {id(config): _settings(config) for config in configs.values()},
        "attention": set(ALL_ATTENTION_FUNCTIONS),
    }


def _settings(config: PreTrainedConfig) -> dict[str, Any]:
    """All that a config holds, private values and sub-configs too."""
    return {
        name: _settings(value) if isinstance(value, PreTrainedConfig) else copy.deepcopy(value)
        for name, value in vars(config).items()
    }
