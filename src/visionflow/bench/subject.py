"""The model that is benched: a real shape with random weights, as deep as the machine allows, or a saved one."""

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from visionflow.bench.machine import cores, free_memory
from visionflow.bench.shapes import SHAPES, random_model, shape_config, weight_counts
from visionflow.core.plan import Plan
from visionflow.cost import DecoderShape, cost_of
from visionflow.errors import VisionFlowError
from visionflow.loading.models import check_device, check_dtype, load_model

_FOR_WEIGHTS = 0.7  # share of the free memory; the rest is for activations
_FLOPS_PER_CORE = 0.75e12  # of one dense prefill, so that a bench of all rows takes minutes on a CPU
_FEWEST = 4  # decoder layers: with fewer, two cuts and what lies between them do not fit


@dataclass(frozen=True)
class Subject:
    """A model, what to call it, and how its depth was chosen (empty where it is its own)."""

    model: PreTrainedModel
    name: str
    note: str = ""


def open_subject(name: str, layers: int | None, dtype: str | None, device: str | None, tokens: int) -> Subject:
    """The model called `name`: one of `SHAPES`, "embedded", a directory or ``owner/name`` on the Hub.

    Args:
        layers: decoder layers of a shape; by default as many as suit the machine.
        dtype: of a shape, float32 on a CPU and bfloat16 elsewhere by default; of a saved model, its own.
        device: the GPU where there is one, by default.
        tokens: of one prefill, all samples, which the depth has to suit.

    Raises:
        VisionFlowError: there is no such model, or it does not fit.
    """
    if name not in SHAPES:
        if layers is not None:
            raise VisionFlowError(f"--layers goes with {', '.join(SHAPES)}: the model {name} has the depth it has")
        loaded = load_model(name, dtype, device)
        return Subject(loaded.model, loaded.name)
    place = check_device(device)
    number = check_dtype(dtype) or (torch.float32 if place.type == "cpu" else torch.bfloat16)
    if layers is None:
        layers, note = fitting_depth(name, number, place, tokens)
    else:
        _check_memory(name, layers, number, place)
        note = f"{layers} of {SHAPES[name][0]} decoder layers" if layers < SHAPES[name][0] else ""
    return Subject(random_model(shape_config(name, layers), number, place), name, note)


def fitting_depth(name: str, dtype: torch.dtype, device: torch.device, tokens: int) -> tuple[int, str]:
    """Decoder layers of a shape that fit the free memory and, on a CPU, a few minutes; and a sentence if not all.

    Args:
        tokens: of one prefill, all samples.
    """
    depth = SHAPES[name][0]
    limits = {depth: ""}
    limits.setdefault(_layers_in_memory(name, dtype, device), f"as many as fit the free memory of {device}")
    if device.type == "cpu":
        shape = DecoderShape.from_config(shape_config(name))
        one = cost_of(Plan(), shape, "flops", image_tokens=0, text_tokens=tokens).dense / depth
        limits.setdefault(int(cores() * _FLOPS_PER_CORE / one), f"to take minutes on {cores()} cores")
    layers = max(min(limits), _FEWEST)
    if layers >= depth:
        return depth, ""
    why = limits.get(layers, "the fewest that make sense")
    return layers, f"{layers} of {depth} decoder layers, {why}; more with --layers"


def _layers_in_memory(name: str, dtype: torch.dtype, device: torch.device) -> int:
    one, others = weight_counts(shape_config(name))
    return int((free_memory(device) * _FOR_WEIGHTS / dtype.itemsize - others) / one)


def _check_memory(name: str, layers: int, dtype: torch.dtype, device: torch.device) -> None:
    """Refuse weights that are larger than the free memory: a CPU would swap, or the system end the process."""
    free = free_memory(device)
    one, others = weight_counts(shape_config(name, layers))
    needed = (one * layers + others) * dtype.itemsize
    if needed > free:
        raise VisionFlowError(
            f"{layers} layers of {name} in {dtype} are {needed / 2**30:.1f} GiB, and "
            f"{free / 2**30:.1f} GiB are free on {device}: give fewer --layers"
        )
