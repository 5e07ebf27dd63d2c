"""Disruption (HiMAP, section 3.2 and 3.3): in some layers, some tokens may not read some others."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeGuard, get_args

from torch import Tensor
from transformers import PreTrainedModel

from visionflow.core.draw import draw
from visionflow.core.flows import Block, BlockMode
from visionflow.core.plan import Plan
from visionflow.core.selection import best
from visionflow.core.tokens import Group, GroupName, Tokens
from visionflow.engines.hf.scope import Scope
from visionflow.errors import VisionFlowError

TargetName = GroupName | Literal["random"]


@dataclass(frozen=True)
class Disruption:
    """In each of `layers`, and in no other, `target` may not read `source`.

    Attributes:
        source: "system", "image", "instruction" or "last": the tokens whose keys are not to be read.
        target: one of the same, the tokens that may not read them; or "random", see `random_rows`. Text between
            pictures is instruction to the later ones, too, where a model lets it read them (PaliGemma, Molmo 2).
        layers: 0-based decoder layers; none at all disrupts nothing.
        mode: "renormalise" takes the pairs away before the softmax, as HiMAP's released code does; "zero" sets their
            attention to zero after it, as the paper words it, and leaves the rest of the row as it was.
        seed: of the random tokens; only with, and always with, ``target="random"``.

    Raises:
        VisionFlowError: on construction, when a field is not one of these.
    """

    source: GroupName
    target: TargetName
    layers: Sequence[int]
    mode: BlockMode = "renormalise"
    seed: int | None = None

    def __post_init__(self) -> None:
        groups = get_args(GroupName)
        _check_name("source", self.source, groups)
        _check_name("target", self.target, (*groups, "random"))
        _check_name("mode", self.mode, get_args(BlockMode))
        _check_layers(self.layers)
        _check_seed(self.seed, self.target)
        object.__setattr__(self, "layers", tuple(self.layers))

    def plan(self) -> Plan:
        """What the runtime is to do."""
        if self.target != "random":
            return Plan(blocks=(Block(self.layers, self.source, self.target, self.mode),))
        assert self.seed is not None  # checked on construction
        return Plan(blocks=(Block(self.layers, self.source, partial(random_rows, seed=self.seed), self.mode),))


def disrupt(
    model: PreTrainedModel,
    *,
    source: GroupName,
    target: TargetName,
    layers: Sequence[int],
    mode: BlockMode = "renormalise",
    seed: int | None = None,
) -> Scope:
    """Let `target` tokens of the prompt read no `source` token in `layers`, until the scope is left.

    ::

        with disrupt(model, source="image", target="instruction", layers=range(5)):  # or keep it, and .remove() it
            out = model.generate(**inputs, max_new_tokens=32)

    Exactly the named layers are disrupted (HiMAP's released code goes on to the last layer). Generated tokens belong to
    no group and read everything. A batch without pictures runs as it is. `model` is bit-identical after the scope.

    Args:
        model: a model of `visionflow.engines.hf.families.FAMILIES`, in eval mode, with sdpa or eager attention.
        source: whose keys are not read; it and the following are as in `Disruption`.
        target: who may not read them.
        layers: exactly these.
        mode: how the flow is taken away.
        seed: of the control's draw.

    Raises:
        VisionFlowError: an argument is not one of those that `Disruption` names.
        UnsupportedModelError: the model is not supported.
        UnsupportedUsageError: a layer that the model does not have, or a scope is open on this model already. Later,
            inside the scope: a token is left with nothing to read.
    """
    return Scope(model, Disruption(source, target, layers, mode, seed).plan())


def random_rows(tokens: Tokens, seed: int) -> Tensor:
    """The control of figure 4: as many tokens as there are of the instruction, from all after the system prompt.

    Image and instruction tokens are equally likely, as in HiMAP's released code, which draws anew in every forward
    pass; here the draw depends on the seed and the prompt's token ids alone (see `visionflow.core.draw`), so it is
    the same in every layer and pass, in any batch and with padding on either side.

    Returns:
        bool ``[batch, tokens]``.
    """
    pairs = zip(tokens.image.counts, tokens.instruction.counts, strict=True)
    readers = Group(tokens.image.mask | tokens.instruction.mask, tuple(sum(pair) for pair in pairs))
    return best(draw(tokens, seed), readers, tokens.instruction.counts)


def layers_named(layers: Sequence[int]) -> str:
    """``0-4`` for layers in a row, else all of them."""
    if len(layers) > 1 and list(layers) == list(range(layers[0], layers[-1] + 1)):
        return f"{layers[0]}-{layers[-1]}"
    return ",".join(map(str, layers)) or "none"


def _check_name(field: str, given: Any, names: tuple[str, ...]) -> None:
    if given not in names:
        raise VisionFlowError(f"{field} must be one of {', '.join(names)}, not {given!r}")


def _check_layers(layers: Any) -> None:
    if not isinstance(layers, Sequence) or not all(_is_whole(layer) for layer in layers):
        raise VisionFlowError(f"layers must be 0-based layer numbers such as range(5) or [7], not {layers!r}")


def _check_seed(seed: int | None, target: str) -> None:
    if target != "random" and seed is not None:
        raise VisionFlowError(f'a seed is for target="random" only: leave it out with target="{target}"')
    if target == "random" and not (_is_whole(seed) and 0 <= seed < 2**63):
        raise VisionFlowError(f'target="random" needs a seed from 0 to 2**63 - 1, such as seed=0, not {seed!r}')


def _is_whole(number: Any) -> TypeGuard[int]:
    return isinstance(number, int) and not isinstance(number, bool)
