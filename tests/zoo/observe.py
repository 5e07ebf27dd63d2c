"""Reads a family's traits off the running instance, so that the data in `traits` are observed, not believed."""

import copy
from collections.abc import Callable, Iterator, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tests.zoo.entry import Entry
from tests.zoo.traits import Traits
from visionflow.engines.hf.layer_kinds import attending, layer_kinds

USUAL_OF_LAYER = {
    "hidden_states", "attention_mask", "position_ids", "past_key_values", "use_cache", "position_embeddings",
}  # fmt: skip
USUAL_OF_DECODER = {"input_ids", "attention_mask", "position_ids", "past_key_values", "inputs_embeds", "use_cache"}
USUAL_OF_ATTENTION = {"dropout", "scaling", "position_ids", "use_cache"}


@dataclass
class Attended:
    """One call of transformers' attention interface."""

    module: nn.Module
    query: Tensor
    mask: Tensor | None
    given: dict[str, Any]


@dataclass
class Seen:
    """What the merger, the decoder, its layers and its attention were called with in the forward passes of a scope."""

    merger: dict[str, Any] = field(default_factory=dict)
    decoder: dict[str, Any] = field(default_factory=dict)
    layers: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    attended: list[Attended] = field(default_factory=list)


@contextmanager
def watching(model: PreTrainedModel, traits: Traits, implementation: str = "sdpa") -> Iterator[Seen]:
    """Everything that passes through the parts of the model that `traits` names."""
    seen = Seen()
    original = ALL_ATTENTION_FUNCTIONS[implementation]

    def attend(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **given: Any
    ) -> Any:
        seen.attended.append(Attended(module, query, attention_mask, given))
        return original(module, query, key, value, attention_mask, **given)

    def noting(note: Callable[[dict[str, Any]], None]) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            note(kwargs | {f"argument {place}": value for place, value in enumerate(args)})

        return hook

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        seen.outputs.append(output)

    with ExitStack() as stack:
        ALL_ATTENTION_FUNCTIONS[implementation] = attend
        stack.callback(ALL_ATTENTION_FUNCTIONS.__setitem__, implementation, original)

        def keep(module: nn.Module, note: Callable[[dict[str, Any]], None]) -> None:
            stack.callback(module.register_forward_pre_hook(noting(note), with_kwargs=True).remove)

        keep(model.get_submodule(traits.merger), seen.merger.update)
        keep(model.get_submodule(traits.decoder), seen.decoder.update)
        for layer in layers_of(model, traits):
            keep(layer, seen.layers.append)
            stack.callback(layer.register_forward_hook(after).remove)
        yield seen


def layers_of(model: PreTrainedModel, traits: Traits) -> list[nn.Module]:
    """The decoder layers."""
    return list(model.get_submodule(f"{traits.decoder}.layers").children())


def attentions_of(model: PreTrainedModel, traits: Traits) -> list[nn.Module]:
    """The attention modules of the layers that attend."""
    layers = layers_of(model, traits)
    kinds = layer_kinds(model.config.get_text_config())
    return [layers[place].get_submodule(traits.attention) for place in attending(kinds)]


@torch.no_grad()
def traits_of(model: PreTrainedModel, entry: Entry) -> Traits:
    """The entry's traits with every observed field replaced by what the instance does."""
    traits = entry.traits
    single = entry.batch([entry.prompt(3, "image", 6)])
    with watching(model, traits) as seen:
        model(**single)
    with watching(model, traits) as padded:
        model(**entry.batch([entry.prompt(3, "image", 6), entry.prompt(3, "image", 9)]))
    with watching(model, traits) as generating:
        made = model.generate(**single, max_new_tokens=1, return_dict_in_generate=True, do_sample=False)
    video: dict[str, Any] = {}
    if "video" in entry.pictures:
        with watching(model, traits) as of_video:
            model(**entry.batch([entry.prompt(3, "video", 6)]))
        video = of_video.merger
    tokens = single["input_ids"].shape[1]
    modules = attentions_of(model, traits)
    own = [call for module in modules for call in seen.attended if call.module is module]
    extra = [{k: v for k, v in layer.items() if k not in USUAL_OF_LAYER | {"argument 0"}} for layer in seen.layers]
    flags = {name for given in extra for name in given}
    return replace(
        traits,
        text_type=model.config.get_text_config().model_type,
        image_inputs=_pixels(seen.merger),
        video_inputs=_pixels(video),
        video_token=_placeholder_of(model, video),
        axes=_axes(seen.decoder.get("position_ids")),
        layer_positions=_layer_positions(seen.layers[0].get("position_ids")),
        rotary=_rotary(seen.layers),
        masks="one" if len(_distinct([layer.get("attention_mask") for layer in padded.layers])) == 1 else "by type",
        ready_masks=_is_ready(seen.decoder.get("attention_mask")),
        both_ways=any(_reads_later(call.mask) for call in own),
        deepstack=_added_after(seen),
        decoder_inputs=_with_tokens(seen.decoder, tokens, USUAL_OF_DECODER),
        layer_inputs=tuple(dict.fromkeys(n for given in extra for n in _with_tokens(given, tokens))),
        layer_state=tuple(dict.fromkeys(n for given in extra for n, v in given.items() if _is_state(v))),
        layer_outputs="tuple" if isinstance(seen.outputs[0], tuple) else "tensor",
        token_axis=seen.layers[1]["argument 0"].dim() - 2,
        attention_inputs=tuple(sorted(_given_to_attention(own) - flags - USUAL_OF_ATTENTION)),
        probed=sum(sum(call.module is module for call in seen.attended) == 1 for module in modules),
        wrapped=_survives_wrapping(model, modules, single),
        caches=tuple(sorted({type(layer).__name__ for layer in made.past_key_values.layers})),
        last_rows=next((i for i, layer in enumerate(generating.layers) if layer["argument 0"].shape[-2] == 1), None),
    )  # fmt: skip


def _survives_wrapping(model: PreTrainedModel, modules: list[nn.Module], inputs: dict[str, Any]) -> bool:
    expected = model(**inputs).logits
    name = "zoo_sdpa"
    with ExitStack() as stack:
        ALL_ATTENTION_FUNCTIONS[name] = ALL_ATTENTION_FUNCTIONS["sdpa"]
        stack.callback(ALL_ATTENTION_FUNCTIONS.pop, name)
        for module in modules:
            own: Any = copy.copy(module.config)
            stack.callback(setattr, module, "config", module.config)
            own._attn_implementation_internal = name  # the public setter reaches into sub-configs, which are shared
            module.config = own
        return torch.equal(model(**inputs).logits, expected)


def _pixels(given: dict[str, Any]) -> tuple[str, ...]:
    return tuple(n for n, v in given.items() if isinstance(v, Tensor) and "pixel_values" in n)


def _placeholder_of(model: PreTrainedModel, given: dict[str, Any]) -> str:
    """The config field of the token that the merger got most often."""
    if not given:
        return ""
    token = int(given["input_ids"].mode().values)
    return next(n for n in ("image_token_id", "video_token_id") if getattr(model.config, n, None) == token)


def _axes(positions: Tensor | None) -> int:
    if positions is None or positions.dim() != 3 or bool((positions == positions[:1]).all()):
        return 1
    return positions.shape[0]


def _layer_positions(positions: Tensor | None) -> str:
    return "none" if positions is None else "axes" if positions.dim() == 3 else "plain"


def _rotary(layers: list[dict[str, Any]]) -> str:
    given = [layer.get("position_embeddings", layer.get("argument 1")) for layer in layers]
    if all(pair is None for pair in given):
        return "none"
    if any(pair is None for pair in given):
        return "some"
    if isinstance(given[0], Tensor):
        return "complex"
    return "one" if len(_distinct([pair[0] for pair in given])) == 1 else "by type"


def _distinct(tensors: list[Any]) -> list[Any]:
    """The tensors that differ in shape or value."""
    found: list[Any] = []
    for tensor in tensors:
        if not any(_same(tensor, other) for other in found):
            found.append(tensor)
    return found


def _same(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    return one.shape == other.shape and bool((one == other).all())


def _is_ready(mask: Any) -> bool:
    return isinstance(mask, dict) or (isinstance(mask, Tensor) and mask.dim() == 4)


def _reads_later(mask: Tensor | None) -> bool:
    if mask is None:
        return False
    allowed = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min
    return bool(allowed.triu(1).any())


def _added_after(seen: Seen) -> tuple[int, ...]:
    """Layers whose output is not the next layer's input."""
    outputs = [output[0] if isinstance(output, tuple) else output for output in seen.outputs]
    inputs = [layer["argument 0"] for layer in seen.layers]
    return tuple(i for i in range(len(inputs) - 1) if not _same(outputs[i], inputs[i + 1]))


def _with_tokens(given: dict[str, Any], tokens: int, usual: Set[str] = frozenset()) -> tuple[str, ...]:
    """Names of the tensors of which an axis beyond the first is as long as the prompt."""
    return tuple(n for n, v in given.items() if n not in usual and isinstance(v, Tensor) and tokens in v.shape[1:])


def _given_to_attention(calls: list[Attended]) -> set[str]:
    return {name for call in calls for name, value in call.given.items() if value is not None}


def _is_state(value: Any) -> bool:
    return isinstance(value, dict) or "Dict" in type(value).__name__
