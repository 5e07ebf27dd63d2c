"""What dropping means where layers have states: from each cut on, the layers run by hand on the shorter sequence.

Each sample is run alone, layer by layer, without a cache: its hidden states, positions and masks are those of the dense
run, of which the entries of dropped tokens are taken out. Nothing of the runtime is used.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from visionflow.engines.hf.families import Family

AXES = {"position_embeddings": -2, "position_ids": -1, "conv_mask": 1}
"""Where the tokens are in what a layer gets, beside its mask."""

Left = list[int]
"""Columns of the tokens that are left."""


@torch.no_grad()
def shorter(model: PreTrainedModel, family: Family, inputs: dict[str, Any], trace: Any) -> tuple[Tensor, Left]:
    """Logits ``[left, vocabulary]`` of one sample, and the columns that are left."""
    entering, given = _dense(model, family, inputs)
    length = inputs["input_ids"].shape[1]
    image = {column for column in range(length) if column in _images(trace)}
    stages = {stage.layer: stage for stage in trace.stages}
    hidden, left, sizes, carried = entering, list(range(length)), [1.0] * length, {}
    for place, layer in enumerate(family.layers_of(model)):
        if place in stages:
            hidden, sizes = _merged(hidden, left, sizes, stages[place].merged)
            kept = set(stages[place].kept[0].tolist())
            stays = [at for at, column in enumerate(left) if column not in image or column in kept]
            hidden, left, sizes = hidden[:, stays], [left[at] for at in stays], [sizes[at] for at in stays]
        with distances_between(layer, left):
            output = layer(hidden, **_of_left(given[place], left, length), **carried)
        carried = {"prev_topk_indices": output[1]} if "prev_topk_indices" in given[place] else {}
        hidden = output[0] if isinstance(output, tuple) else output
    return _logits(model, family, hidden), left


@contextmanager
def distances_between(layer: nn.Module, left: Left) -> Iterator[None]:
    """Where a bias goes by distance, let it be that between the columns `left`, not between what is there."""
    at = torch.tensor(left)
    modules = [module for name, module in layer.named_modules() if name.endswith("rel_logits_proj")]
    handles = [module.register_forward_pre_hook(lambda module, args: (args[0], at, at)) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _dense(model: PreTrainedModel, family: Family, inputs: dict[str, Any]) -> tuple[Tensor, list[dict[str, Any]]]:
    """What enters the first layer, and what each layer is given beside hidden states, in the dense run."""
    entering: list[Tensor] = []
    given: list[dict[str, Any]] = []

    def note(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        entering.append(args[0])
        given.append(kwargs)

    handles = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in family.layers_of(model)]
    model(**inputs, use_cache=False)
    for handle in handles:
        handle.remove()
    return entering[0], given


def _images(trace: Any) -> set[int]:
    given = trace.stages[0].given
    return set(given.columns[0][given.image.mask[0]].tolist())


def _of_left(given: dict[str, Any], left: Left, length: int) -> dict[str, Any]:
    index = torch.tensor(left)
    kwargs = {name: value for name, value in given.items() if name != "prev_topk_indices"}
    for name, axis in AXES.items():
        kwargs[name] = _taken(kwargs.get(name), lambda part, axis=axis: part.index_select(axis, index))
    mask = kwargs.get("attention_mask")
    if mask is not None:
        mask = mask.index_select(1, index) if mask.dim() == 2 else mask.index_select(2, index).index_select(3, index)
    present = {name for name in AXES if name in given}
    return {name: value for name, value in kwargs.items() if name not in AXES or name in present} | {
        "attention_mask": mask
    }


def _taken(value: Any, take: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, tuple):
        return tuple(_taken(part, take) for part in value)
    return value if value is None else take(value)


def _merged(hidden: Tensor, left: Left, sizes: list[float], merged: Any) -> tuple[Tensor, list[float]]:
    """Each token that others are merged into is their mean and its own, weighted by how many each stands for."""
    if merged is None:
        return hidden, sizes
    hidden, sizes, place = hidden.clone(), list(sizes), {column: at for at, column in enumerate(left)}
    groups: dict[int, list[int]] = {}
    for moved, target in merged[0].T.tolist():
        groups.setdefault(place[target], [place[target]]).append(place[moved])
    weights = list(sizes)
    for target, group in groups.items():
        total = sum(weights[at] for at in group)
        hidden[:, target] = sum(hidden[:, at] * weights[at] for at in group) / total
        sizes[target] = total
    return hidden, sizes


def _logits(model: PreTrainedModel, family: Family, hidden: Tensor) -> Tensor:
    """What the model makes of hidden states behind its last layer: they take the place of that layer's output."""
    last = family.layers_of(model)[-1]

    def put(module: nn.Module, args: Any, output: Any) -> Any:
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = last.register_forward_hook(put)
    ids = torch.full((1, 1), 3)
    try:
        logits: Tensor = model(input_ids=ids, use_cache=False).logits[0]
    finally:
        handle.remove()
    return logits
