"""How a model's attention runs: in which layers, what it takes for a mask, and which processes hold its other heads."""

import copy
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from torch.distributed import ProcessGroup, get_world_size
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from visionflow.core.cutting import asked_of
from visionflow.core.plan import Plan
from visionflow.engines.hf.block_masks import BlockMasks, Masks
from visionflow.engines.hf.family import Family
from visionflow.engines.hf.layer_kinds import LayerKind, attending, layer_kinds
from visionflow.engines.hf.memo import Memo
from visionflow.errors import UnsupportedModelError, UnsupportedUsageError

MaskKind = Literal["pairs", "keys", "blocks"]
"""4-D masks or None (sdpa, eager), 2-D masks of keys or None (flash), block masks (flex)."""

_KINDS: dict[Any, MaskKind] = {
    ALL_MASK_ATTENTION_FUNCTIONS["sdpa"]: "pairs",
    ALL_MASK_ATTENTION_FUNCTIONS["eager"]: "pairs",
    ALL_MASK_ATTENTION_FUNCTIONS["flash_attention_2"]: "keys",
    ALL_MASK_ATTENTION_FUNCTIONS["flex_attention"]: "blocks",
}
"""By the function that makes the masks of an implementation, so that one registered by a user is told, too."""

_WHERE_NOTHING_IS_LEFT_OUT = {
    LayerKind(picks=True): "an indexer picks what queries of this model read, before any flow is left out of it",
    LayerKind(mixes=True): "convolutions beside this model's attention carry on what a flow that is left out would",
}


@dataclass(frozen=True)
class Backend:
    """How the attention of one model runs.

    Attributes:
        kind: what the attention functions take for a mask.
        group: the processes that hold the heads; None where this one holds all.
        alone: a single token gets no mask where nothing is padded, whatever its layers hold (no windows, no indexer).
        layers: what each decoder layer does with tokens.
        leak: the setting under which padding enters the states of this model; empty where it does not.
    """

    kind: MaskKind = "pairs"
    group: ProcessGroup | None = None
    alone: bool = False
    layers: tuple[LayerKind, ...] = ()
    leak: str = ""

    @property
    def first(self) -> int:
        """The first layer with attention, which tells how long the sequence is."""
        return attending(self.layers)[0]

    def masks(self, memo: Memo) -> Masks:
        """The masks of a forward pass."""
        return BlockMasks(memo) if self.kind == "blocks" else Masks()


def backend_of(model: PreTrainedModel, family: Family) -> Backend:
    """How the attention of `model` runs.

    Raises:
        UnsupportedModelError: masks of an unknown kind, or heads that are split unevenly over the processes.
    """
    config = model.config.get_text_config()
    implementation = config._attn_implementation
    make_mask = ALL_MASK_ATTENTION_FUNCTIONS._global_mapping.get(implementation)
    if make_mask not in _KINDS:
        raise UnsupportedModelError(
            f"attention implementation {implementation!r} is not supported: it makes its masks in a way of its own; "
            "call model.set_attn_implementation('sdpa')"
        )
    layers = layer_kinds(config)
    unmasked = make_mask is ALL_MASK_ATTENTION_FUNCTIONS["sdpa"] or _KINDS[make_mask] == "keys"
    alone = unmasked and not _has_windows(model) and not any(kind.picks for kind in layers)
    if not attending(layers):
        raise UnsupportedModelError(
            "no decoder layer of this model attends, so there are no keys to drop: run it dense"
        )
    projection = family.projection_of(family.layers_of(model)[attending(layers)[0]])
    leak = next((name for name in family.leaks if getattr(config, name, False)), "")
    return Backend(_KINDS[make_mask], _group_of(model, projection), alone, layers, leak)


def _has_windows(model: PreTrainedModel) -> bool:
    config = model.config.get_text_config()
    return any(getattr(config, name, None) is not None for name in ("sliding_window", "attention_chunk_size"))


def _group_of(model: PreTrainedModel, projection: nn.Module) -> ProcessGroup | None:
    """The tensor-parallel group, where each process has some of the heads and so some of W_O's inputs."""
    weight: Any = getattr(projection, "weight", None)
    mesh: Any = getattr(model, "_device_mesh", None)
    whole = getattr(projection, "in_features", None)
    if mesh is None or weight is None or whole is None or "tp" not in (mesh.mesh_dim_names or ()):
        return None
    own = (weight.to_local() if isinstance(weight, DTensor) else weight).shape[1]
    if own == whole:
        return None
    group: ProcessGroup = mesh.get_group("tp")
    if own * get_world_size(group) != whole:
        raise UnsupportedModelError(
            f"the heads are split unevenly over {get_world_size(group)} processes: choose a tp_size that divides them"
        )
    return group


def check_backend(backend: Backend, model: PreTrainedModel, plan: Plan) -> None:
    """Refuse what cannot be right with this way of running attention.

    Raises:
        UnsupportedModelError: flash attention with windows, which it would count in tokens that are left.
        UnsupportedUsageError: flash attention and flows blocked by a mask; flows left out after an indexer has picked;
            an analysis of heads held elsewhere, or a cut on their keys.
    """
    for kind, why in _WHERE_NOTHING_IS_LEFT_OUT.items():
        layers = {layer for layer, own in enumerate(backend.layers) if own == kind}
        left_out = {layer for part in plan.withheld for layer in part.layers if kind.mixes}
        left_out |= {layer for block in plan.blocks if block.mode != "renormalise" for layer in block.layers}
        if layers & left_out:
            raise UnsupportedUsageError(f"{why}: {plan.way_out}")
    if backend.kind == "keys":
        if _has_windows(model):
            raise UnsupportedModelError(
                "flash attention counts this model's windows in the tokens that are left, not in those of the prompt: "
                "call model.set_attn_implementation('sdpa')"
            )
        text_reads = any("instruction" not in blocked for blocked in plan.skipped().values())
        if text_reads or any(block.mode == "renormalise" for block in plan.blocks):
            raise UnsupportedUsageError(
                "flash attention takes no mask that forbids single tokens to read others, which this needs: "
                "call model.set_attn_implementation('sdpa')"
            )
    keys = "keys" in asked_of(plan)
    if backend.group is not None and (plan.watches or keys):
        raise UnsupportedUsageError(
            f"each process holds some of the heads, and {'a cut on keys' if keys else 'an analysis'} looks at all: "
            "load the model without a tp_plan"
        )


def stand_in(module: nn.Module) -> nn.Module:
    """The same module under another identity: what happens to the attributes of `module` later leaves it alone.

    Flash attention looks up its own name in the config of the module that it is given.
    """
    return copy.copy(module)
