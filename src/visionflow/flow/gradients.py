"""The gradient of a loss with respect to each layer's attention, used and thrown away as the backward pass goes by.

What a head reads is O_h = A_h V_h, so dL/dA_h = dL/dO_h V_h^T: the gradient that autograd brings to the heads' output
is all it takes, and A_h is computed anew, some rows at a time. Autograd keeps what it needs for the hidden states; of
the maps and their gradients nothing is kept.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from visionflow.core import AttentionRows, LayerAttention, Plan, Watch
from visionflow.core.attention import exact, out_of_autocast, per_group
from visionflow.core.depth import listed
from visionflow.engines.hf.families import family_of
from visionflow.engines.hf.layer_kinds import depth_of
from visionflow.engines.hf.scope import Scope
from visionflow.errors import UnsupportedUsageError

SCALE = 2.0**10
"""What the loss is multiplied by on its way back: a power of two changes no digit, and fp16 gradients do not vanish."""


@dataclass(frozen=True)
class AttentionGradient:
    """The attention of one layer, and the gradient of the loss with respect to it.

    Attributes:
        layer: 0-based index of the decoder layer.
        rows: the rows of all tokens but padding.
        value: ``[batch, kv_heads, keys, head_dim]``.
        output: gradient with respect to what the heads read, times `SCALE`: ``[batch, tokens, heads, head_dim]``.
    """

    layer: int
    rows: AttentionRows
    value: Tensor
    output: Tensor

    def chunks(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Chunks of rows: their index ``[batch, r]``, A and dL/dA ``[batch, heads, r, keys]`` in fp32 or fp64.

        Rows that fill up the batch point at padding.
        """
        output = exact(self.output).transpose(1, 2) / SCALE
        value = exact(self.value).transpose(2, 3)
        for index, _, weights in self.rows.heads():
            chosen = index[:, None, :, None].expand(-1, output.shape[1], -1, output.shape[3])
            yield index, weights, per_group(output.gather(2, chosen), value)


def backward(model: PreTrainedModel, loss: Callable[[], Tensor], visit: Callable[[AttentionGradient], None]) -> None:
    """Differentiate `loss`, and let `visit` see the attention of each layer, last to first, as its gradient comes by.

    No parameter gets a gradient: the graph starts at the hidden states that enter the first decoder layer. The model is
    left as it was, also by an exception. The caller may be inside ``torch.no_grad`` or ``torch.inference_mode``. With
    eager attention autograd keeps a map per layer for its own needs; sdpa keeps none.

    Args:
        model: a supported model in eval mode, with sdpa or eager attention.
        loss: runs the model on one prompt, batched or not, and returns a scalar.

    Raises:
        UnsupportedModelError: the model is not supported.
        UnsupportedUsageError: the model is in training mode or in a scope, was loaded in ``torch.inference_mode``, or
            has layers without attention.
    """

    def see(attention: LayerAttention) -> None:
        # The hook must not hold the output itself: a tensor that is held by its own hook is never freed.
        rows = attention.all_rows()
        hook = partial(meet, attention.layer, rows, attention.value)
        attention.output.register_hook(hook)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def meet(layer: int, rows: AttentionRows, value: Tensor, gradient: Tensor) -> None:
        with out_of_autocast(gradient.device):
            visit(AttentionGradient(layer, rows, value, gradient))

    layers, depth = family_of(model).layers_of(model), depth_of(model.config)
    if len(depth.attending) < depth:
        raise UnsupportedUsageError(
            "saliency is a profile of attention from layer to layer, and of this model's "
            f"{depth} layers only {listed(depth.attending)} have any: look at these with picture_attention or disrupt"
        )
    if any(parameter.is_inference() for parameter in model.parameters()):
        raise UnsupportedUsageError(
            "the model was loaded inside torch.inference_mode(), so nothing can be differentiated: load it outside"
        )
    scope = Scope(model, Plan(watches=(Watch(range(len(layers)), see),)))
    with scope, _frozen(model), torch.inference_mode(False), torch.enable_grad(), _graph_from(layers[0]) as start:
        torch.autograd.grad(loss() * SCALE, start)


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """No parameter asks for a gradient."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


@contextmanager
def _graph_from(layer: nn.Module) -> Iterator[list[Tensor]]:
    """The hidden states that enter `layer` are where differentiation ends; they are put on the list."""
    entered: list[Tensor] = []

    def enter(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        entered.append(args[0].detach().requires_grad_())
        return (entered[-1], *args[1:])

    handle = layer.register_forward_pre_hook(enter)
    try:
        yield entered
    finally:
        handle.remove()
