"""What a model would say, read early: hidden states and the heads' values, projected into the vocabulary.

Both lenses look at the last *prompt* token of each sample, the one whose logits choose the first word of the answer.
The released notebooks of VisiPruner read the values of the last *generated* token, which is the answer itself.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from visionflow.core.attention import exact
from visionflow.core.flows import Watch
from visionflow.core.layer import LayerAttention
from visionflow.engines.hf.families import check_head, family_of
from visionflow.errors import UnsupportedModelError, VisionFlowError
from visionflow.flow.lengths import tokens_of
from visionflow.flow.watching import at_last, layers_or_all, run_prompt


class Tokenizer(Protocol):
    """What turns token ids into text, such as ``processor.tokenizer``."""

    def decode(self, token_ids: list[int]) -> str:
        """The text of the ids."""
        ...


@dataclass(frozen=True)
class LogitLens:
    """The likeliest next tokens at each depth; depth 0 is the input embedding, depth l the output of l layers.

    Attributes:
        ids: int64 ``[batch, layers + 1, top]``, likeliest first.
        probabilities: theirs, fp32 (fp64 of an fp64 model), of the same shape.
    """

    ids: Tensor
    probabilities: Tensor

    def rows(self) -> list[dict[str, Any]]:
        """One row per sample and depth, fit for JSON."""
        ids, probabilities = self.ids.tolist(), self.probabilities.tolist()
        return [
            {"sample": sample, "depth": depth, "ids": ids[sample][depth], "probabilities": probabilities[sample][depth]}
            for sample in range(len(ids))
            for depth in range(len(ids[sample]))
        ]


@dataclass(frozen=True)
class ValueOutputLens:
    """The likeliest tokens of what each head would write, were it to read the last prompt token alone.

    Attributes:
        layers: the 0-based decoder layers.
        ids: int64 ``[batch, layers, heads, top]``, likeliest first.
        probabilities: theirs, fp32 (fp64 of an fp64 model), of the same shape.
    """

    layers: tuple[int, ...]
    ids: Tensor
    probabilities: Tensor

    def rows(self) -> list[dict[str, Any]]:
        """One row per sample, layer and query head, fit for JSON."""
        ids, probabilities = self.ids.tolist(), self.probabilities.tolist()
        return [
            {"sample": sample, "layer": layer, "head": head, "ids": top, "probabilities": shares}
            for sample in range(len(ids))
            for place, layer in enumerate(self.layers)
            for head, (top, shares) in enumerate(zip(ids[sample][place], probabilities[sample][place], strict=True))
        ]


def with_words(rows: Sequence[Mapping[str, Any]], tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """The rows of a lens, each with its ids as text under ``words``."""
    return [{**row, "words": [tokenizer.decode([token]) for token in row["ids"]]} for row in rows]


def logit_lens(model: PreTrainedModel, inputs: Mapping[str, Any], top: int = 5) -> LogitLens:
    """Project the last prompt token's hidden state at every depth into the vocabulary.

    ``softmax(W_u RMSNorm_final(h))`` (VisiPruner, eq. 2, which leaves the norm out), and what the model itself does to
    its logits, such as Gemma 2's cap. The states are taken where they enter each layer and the final norm, so the norm
    is applied exactly once at every depth: the last entry of transformers' own ``hidden_states`` is already normalised.
    The last depth is the model's own next-token distribution.

    Args:
        model: a model of `visionflow.engines.hf.families.FAMILIES`, in eval mode, with sdpa or eager attention.
        inputs: the processor's batch, padded on either side.
        top: tokens kept per depth.

    Raises:
        UnsupportedModelError: the model is not supported, or keeps several hidden states of each token (Gemma 3n).
        UnsupportedUsageError: no ``input_ids`` or a KV cache in `inputs`, training mode, or a scope is open on the
            model.
        VisionFlowError: `top` is less than 1 or more than the vocabulary.
    """
    check_lens(model, top)
    family = family_of(model)
    tokens = tokens_of(model, inputs)
    states: list[Tensor] = []

    def keep_last(module: nn.Module, args: tuple[Any, ...]) -> None:
        states.append(at_last(args[0], tokens))

    with ExitStack() as hooks:
        for module in (*family.layers_of(model), family.norm_of(model)):
            hooks.callback(module.register_forward_pre_hook(keep_last).remove)
        run_prompt(model, inputs)
    return LogitLens(*read_early(model, _together(states), top))


def value_output_lens(
    model: PreTrainedModel, inputs: Mapping[str, Any], layers: Sequence[int] | None = None, top: int = 5
) -> ValueOutputLens:
    """Project what each query head makes of the last prompt token's value into the vocabulary.

    ``softmax(W_u RMSNorm_final(v_h W_O,h))`` (VisiPruner, eq. 3 and 9), v of the last prompt token. A query head uses
    the value of its key-value group and its own slice of the output projection. A bias of the output projection belongs
    to no head and is left out.

    Args:
        model: a model of `visionflow.engines.hf.families.FAMILIES`, in eval mode, with sdpa or eager attention.
        inputs: the processor's batch, padded on either side.
        layers: 0-based decoder layers; all with attention for None.
        top: tokens kept per head.

    Raises:
        UnsupportedModelError: the model is not supported, or gates the numbers of each head after attention.
        UnsupportedUsageError: no such layer, no ``input_ids`` or a KV cache in `inputs`, training mode, or a
            scope is open on the model.
        VisionFlowError: `top` is less than 1 or more than the vocabulary.
    """
    family = family_of(model)
    _check_top(model, top)
    if family.gated:
        raise UnsupportedModelError(
            f"a {family.model_type} gates each number of a head after attention, so that a value alone does not say "
            "what the head writes: there is no value-output lens of it"
        )
    chosen = layers_or_all(model, layers)
    modules = family.layers_of(model)
    written: dict[int, Tensor] = {}

    def see(attention: LayerAttention) -> None:
        written[attention.layer] = head_outputs(attention, family.projection_of(modules[attention.layer]))

    run_prompt(model, inputs, Watch(chosen, see))
    ids, probabilities = zip(*(read_early(model, written[layer], top) for layer in chosen), strict=True)
    return ValueOutputLens(chosen, torch.stack(ids, 1), torch.stack(probabilities, 1))


def head_outputs(attention: LayerAttention, projection: nn.Module) -> Tensor:
    """``v_h W_O,h`` of the last prompt token for each query head.

    Args:
        attention: of one layer.
        projection: its output projection; called as a module, so that it may be quantised or carry an adapter.

    Returns:
        ``[batch, heads, width]``; summed over the heads it is what the layer's attention writes, without the bias,
        when every head reads that token alone.
    """
    value = at_last(attention.value.transpose(1, 2), attention.tokens)
    value = value.repeat_interleave(attention.query.shape[1] // value.shape[1], dim=1)
    heads = value.shape[1]
    alone = value.unsqueeze(2) * torch.eye(heads, dtype=value.dtype, device=value.device).unsqueeze(2)
    alone = alone.flatten(2)  # [batch, heads, heads * head_dim]: row h holds head h, and zero for the others
    written: Tensor = projection(alone) - projection(torch.zeros_like(alone[:1, :1]))
    return written


@torch.no_grad()
def read_early(model: PreTrainedModel, states: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Ids and probabilities ``[batch, n, top]`` of the tokens that ``[batch, n, width]`` stands for, on the CPU."""
    probabilities, ids = exact(_logits(model, states)).softmax(-1).topk(top)
    return ids.cpu(), probabilities.cpu()


def _logits(model: PreTrainedModel, states: Tensor) -> Tensor:
    """The logits ``[batch, n, vocabulary]`` that the model itself makes of hidden states ``[batch, n, width]``.

    Some classes scale, cap or mask them behind the head, so the states take the decoder's place in a pass of one token:
    of the whole model, or of the language model in it that has a head of its own (BLIP-2 wants a picture in any pass).
    """
    family = family_of(model)
    normed = family.norm_of(model)(states)

    def put(module: nn.Module, args: Any, output: Any) -> Any:
        output.last_hidden_state = normed
        return output

    token = torch.zeros(1, 1, dtype=torch.long, device=model.device)
    handle = family.decoder_of(model).register_forward_hook(put)
    try:
        logits: Tensor = _with_head(model)(input_ids=token, use_cache=False).logits
    finally:
        handle.remove()
    return logits


def _with_head(model: PreTrainedModel) -> nn.Module:
    """The innermost module that the decoder and the head are both in."""
    head = model.get_output_embeddings()
    path = family_of(model).decoder.split(".")
    inner = (model.get_submodule(".".join(path[:depth])) for depth in range(len(path), 0, -1))
    found: nn.Module = next((module for module in inner if any(each is head for each in module.modules())), model)
    return found


def _together(states: list[Tensor]) -> Tensor:
    """``[batch, depths, width]``, also of layers that live on several devices."""
    return torch.stack([state.to(states[-1].device) for state in states], 1)


def check_lens(model: PreTrainedModel, top: int) -> None:
    """Refuse a model without a logit lens, or a `top` that it has not.

    Raises:
        UnsupportedModelError, VisionFlowError: as `logit_lens`.
    """
    family = family_of(model)
    _check_top(model, top)
    if family.token_axis != 1:
        raise UnsupportedModelError(
            f"a {family.model_type} carries several hidden states of each token from layer to layer, and none of them "
            "is what its last norm takes: there is no logit lens of it"
        )


def _check_top(model: PreTrainedModel, top: int) -> None:
    check_head(model)
    vocabulary = model.config.get_text_config().vocab_size
    if not 1 <= top <= vocabulary:
        raise VisionFlowError(f"top is {top}: ask for at least 1 token and at most the vocabulary's {vocabulary}")
