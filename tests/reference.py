"""What the runtime is checked against: written from the definitions, without the runtime's own code."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tests.tiny import IMAGE_TOKEN
from visionflow import Method
from visionflow.core import Block, Cut, Plan, Positive, Shown, Tokens
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


class Keep(Method):
    """A method that keeps given columns per sample, at given layers."""

    name = "keep"

    def __init__(self, kept: dict[int, list[Tensor]], otherwise: Plan) -> None:
        self.kept = kept
        self.otherwise = otherwise

    def plan(self) -> Plan:
        """The cuts, and what else the method does."""
        return replace(self.otherwise, cuts=self.cuts(), adaptive=None)

    def cuts(self) -> tuple[Cut, ...]:
        """One cut per layer, of as many tokens as are given."""
        return tuple(Cut(layer, Positive(), Given(tuple(self.kept[layer]))) for layer in sorted(self.kept))

    @classmethod
    def of(cls, trace: Any, method: Method) -> "Keep":
        """The kept set of a finished run of `method`."""
        return cls({stage.layer: stage.kept for stage in trace.stages}, method.plan())


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
