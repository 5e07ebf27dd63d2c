"""Ways of running a model that would go wrong silently under a pruning scope, refused before they start."""

import copy
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn
from transformers import Cache, PreTrainedModel
from transformers.generation import GenerationConfig, GenerationMode

from visionflow.core.cutting import asked_of
from visionflow.core.depth import listed
from visionflow.core.flows import Block, Watch, Withhold
from visionflow.core.plan import Plan
from visionflow.core.tokens import Tokens
from visionflow.engines.hf.caches import cache_of
from visionflow.engines.hf.family import PLAIN_TEXT, Family
from visionflow.errors import UnsupportedModelError, UnsupportedUsageError

_COMPILED = "_torchdynamo_orig_callable"  # what torch.compile leaves on a function
_SAFE_MODES = (
    GenerationMode.GREEDY_SEARCH,
    GenerationMode.SAMPLE,
    GenerationMode.BEAM_SEARCH,
    GenerationMode.BEAM_SAMPLE,
)
_SAFE_CACHES = (None, "dynamic", "offloaded", "hybrid", "static")
"""Those that are known; "hybrid", which checkpoints with windows carry, generate takes for None."""


def check_call(model: PreTrainedModel, call: dict[str, Any]) -> None:
    """Refuse a forward pass whose result would be wrong.

    Raises:
        UnsupportedUsageError: the model is in training mode, or serves a paged cache.
    """
    if model.training:
        raise UnsupportedUsageError(
            "the model is in training mode, and pruning is for inference: call model.eval() "
            "(gradients without a training step work)"
        )
    if not isinstance(call.get("cache"), Cache | None):
        raise UnsupportedUsageError("continuous batching (a paged cache) is not supported: use generate")


def check_compiled(layers: list[nn.Module], attention: str) -> None:
    """Refuse parts of layers that a look at attention reaches into; whole layers may be compiled, and MLPs and norms.

    Raises:
        UnsupportedModelError: an attention module or a layer's ``forward`` is compiled.
    """
    modules = [dict(layer.named_modules()).get(attention) for layer in layers]
    compiled = any(part is not None and part._compiled_call_impl is not None for part in modules)
    if compiled or any(hasattr(part.forward, _COMPILED) for part in (*layers, *modules) if part is not None):
        raise UnsupportedModelError(
            "the attention or the forward of a decoder layer is compiled with torch.compile, which could pass over a "
            "look at its attention: compile whole layers, by layer.compile(), or their MLPs and norms"
        )


def check_unpacked(call: dict[str, Any], tokens: Tokens, masks_tell: bool) -> None:
    """Refuse several samples packed in one row, which would be pruned as one.

    transformers tells them by positions that do not count on, of real tokens; where there is a mask it looks at that
    alone (`masks_tell`), but for flash attention. M-RoPE positions of one sample never go back on all axes at once.

    Raises:
        UnsupportedUsageError: they are packed.
    """
    packed = any(call.get(name) is not None for name in ("cu_seq_lens_q", "cu_seq_lens_k"))
    positions: Tensor | None = call.get("position_ids")
    if positions is not None and not (masks_tell and call.get("attention_mask") is not None):
        steps = positions.to(tokens.valid.device).diff(dim=-1)
        broken = (steps < 0).all(0) if steps.dim() == 3 else steps != 1
        packed = packed or bool((broken & tokens.valid[:, 1:] & tokens.valid[:, :-1]).any())
    if packed:
        raise UnsupportedUsageError(
            "the position ids do not count on, as in several samples packed in one row, which would be pruned as one: "
            "give a batch with one sample per row, and its attention_mask"
        )


def check_length(model: PreTrainedModel, plan: Plan, total: int) -> None:
    """Refuse a sequence of `total` columns so long that a model scales attention by the tokens that it counts itself.

    Llama 4 does, from `floor_scale` tokens on, in its layers without rotary positions, and Inkling where it is told to:
    after a cut they would count those that are left.

    Raises:
        UnsupportedUsageError: it is as long as that, and tokens are dropped.
    """
    config: Any = model.config.get_text_config()
    longest = getattr(config, "log_scaling_n_floor", None)
    if getattr(config, "attn_temperature_tuning", False):
        longest = getattr(config, "floor_scale", None)
    if (plan.cuts or plan.adaptive) and longest is not None and total >= longest:
        raise UnsupportedUsageError(
            f"from {longest} tokens on a {config.model_type} scales attention by a count of the tokens that are left, "
            f"which dropping changes, and this sequence, or its static cache, is {total} long: make it shorter, or run "
            "it dense"
        )


def check_plan(family: Family, plan: Plan, call: dict[str, Any]) -> None:
    """Refuse a forward pass that would not do what `plan` says, or hides what it did.

    Raises:
        UnsupportedUsageError: pictures in an argument whose image tokens are not known, videos for
            a method that looks at the tower, attention weights of layers
            that skip a part of them, or an off-loaded cache that is to let go of keys.
    """
    for name, value in call.items():
        if name.startswith("pixel_values") and value is not None and name not in family.image_inputs:
            raise UnsupportedUsageError(f"the tokens of {name} are not known in a {family.model_type}: leave it out")
    videos = [
        name
        for name, value in call.items()
        if "video" in name and name.startswith("pixel_values") and value is not None
    ]
    if "tower" in asked_of(plan) and (videos or "video" in (call.get("mm_encoder_outputs") or {})):
        raise UnsupportedUsageError(
            "the vision tower's attention is evidence of pictures, not of videos yet: leave the video out, or take a "
            "method that looks at no tower, such as HiMAP"
        )
    if plan.skipped() and call.get("output_attentions"):
        raise UnsupportedUsageError(
            "layers that leave attention uncomputed have no weights to give: leave out output_attentions, or "
            f"{plan.way_out}"
        )
    if plan.withheld and getattr(cache_of(call), "offloading", False):
        raise UnsupportedUsageError(
            f"an off-loaded cache cannot let go of keys: leave out cache_implementation, or {plan.way_out}"
        )


def check_answered(plan: Plan) -> None:
    """Refuse a plan under which an answer that is read together with its prompt would read something else than later.

    Raises:
        UnsupportedUsageError: it blocks flows, withholds keys, watches layers, or cuts by what these show.
    """
    if plan.blocks or plan.withheld or plan.watches or plan.adaptive:
        raise UnsupportedUsageError(
            "an answer can be read together with its prompt under cuts at given layers alone: read the prompt first, "
            "and the answer on its cache"
        )


def check_positions(family: Family, model: PreTrainedModel, plan: Plan) -> None:
    """Refuse positions that are numbered anew where they are more than one number for each token.

    Raises:
        UnsupportedModelError: they have several axes, or rotary embeddings of several kinds.
    """
    text: Any = model.config.get_text_config()
    axes = "mrope_section" in (getattr(text, "rope_parameters", None) or {})
    if plan.positions == "compact" and (axes or text.model_type not in PLAIN_TEXT):
        raise UnsupportedModelError(
            f"positions='compact' is for text models with one position for each token ({', '.join(PLAIN_TEXT)}), and "
            f"this {family.model_type} has a {text.model_type}: leave positions at 'keep'"
        )


def check_shared_keys(family: Family, model: PreTrainedModel, plan: Plan) -> None:
    """Refuse what reaches into the layers that read the keys of earlier ones, or at the places that these picked.

    Raises:
        UnsupportedUsageError: a cut after the layer whose keys are read again, something else in the layers that do, or
            keys withheld of that layer.
    """
    closed = family.closed_to_cuts(model)
    if not closed:
        return
    others: tuple[Block | Withhold | Watch, ...] = (*plan.blocks, *plan.withheld, *plan.watches)
    reached = {cut.layer for cut in plan.cuts} | {layer for part in others for layer in part.layers}
    reached |= {layer + 1 for part in plan.withheld for layer in part.layers}  # who comes after reads what is left
    if plan.adaptive or reached & closed:
        possible = [layer for layer in range(len(family.layers_of(model))) if layer not in closed]
        raise UnsupportedUsageError(
            f"some layers of this {family.model_type} read the keys of earlier ones: drop before layers that are "
            f"given, and none of those (possible: {listed(possible)})"
        )


def guard_generation(
    model: PreTrainedModel,
    inside: Callable[[Tensor | None], AbstractContextManager[None]],
    check_static: Callable[[], None],
) -> Callable[[], None]:
    """Check the arguments of `model.generate` first, and refuse `model.generate_batch`, until the result is called.

    Each call of `generate` runs `inside` a context of its own, which is told the ids of the prompt; `check_static` is
    called where it is to make a static cache.
    """
    generate = model.generate
    names = list(inspect.signature(generate).parameters)  # of some classes others than of most

    def guarded(*args: Any, **kwargs: Any) -> Any:
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        with inside(given.get("input_ids")):
            config = _checked_config(model, **given)
            if config.use_cache is not False and config.cache_implementation == "static":
                check_static()
            return generate(*args, **kwargs)

    def refused(*args: Any, **kwargs: Any) -> Any:
        raise UnsupportedUsageError("continuous batching (a paged cache) is not supported: use generate")

    batched = [name for name in ("generate_batch", "init_continuous_batching") if hasattr(model, name)]
    guards = {"generate": guarded, **dict.fromkeys(batched, refused)}
    before = {name: vars(model)[name] for name in guards if name in vars(model)}  # a user's own
    vars(model).update(guards)

    def undo() -> None:
        for name in guards:
            del vars(model)[name]
        vars(model).update(before)

    return undo


def _checked_config(
    model: PreTrainedModel,
    generation_config: GenerationConfig | None = None,
    assistant_model: Any = None,
    attention_mask: Tensor | None = None,
    **kwargs: Any,
) -> GenerationConfig:
    """What `generate` is to do.

    Raises:
        UnsupportedUsageError: it would go wrong.
    """
    config = copy.deepcopy(model.generation_config)
    if generation_config is not None:
        config.update(**{name: value for name, value in generation_config.to_dict().items() if value is not None})
    config.update(**kwargs)
    if config.prefill_chunk_size is not None:
        raise UnsupportedUsageError("prefill_chunk_size splits the picture over several passes: leave it out")
    heeded = config.use_cache is not False or config.cache_implementation == "paged"
    if heeded and config.cache_implementation not in _SAFE_CACHES:
        raise UnsupportedUsageError(
            f"cache_implementation={config.cache_implementation!r} cannot hold a different length in each layer: "
            "leave it out, or pass cache_implementation='dynamic' where the checkpoint's generation config has it"
        )
    mode = config.get_generation_mode(assistant_model)
    if mode not in _SAFE_MODES:
        raise UnsupportedUsageError(
            f"{mode.value.replace('_', ' ')} is not supported: use greedy search, sampling or beam search"
        )
    if attention_mask is not None and attention_mask.dim() == 2 and not bool(attention_mask[:, -1].all()):
        raise UnsupportedUsageError(
            "some prompts end in padding: generate needs it on the left (processor.tokenizer.padding_side = 'left')"
        )
    return config
