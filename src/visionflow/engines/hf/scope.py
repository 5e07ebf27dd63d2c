"""The pruning scope: hangs a plan on a model's hooks, and takes every trace of itself off again."""

import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, SupportsIndex

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel, StaticCache

from visionflow.core.evidence import Tower
from visionflow.core.plan import Plan
from visionflow.core.tokens import find_tokens
from visionflow.core.trace import Trace
from visionflow.engines.hf.backend import backend_of, check_backend
from visionflow.engines.hf.block_masks import Masks
from visionflow.engines.hf.caches import (
    CacheRecord,
    cache_name,
    cache_of,
    check_cache,
    lead,
    makes_cache,
    new_cache,
    whole_cache,
)
from visionflow.engines.hf.deepstack import shorten
from visionflow.engines.hf.distances import count_by_column
from visionflow.engines.hf.families import family_of
from visionflow.engines.hf.given import has_pictures, tokens_in
from visionflow.engines.hf.guards import (
    check_answered,
    check_call,
    check_compiled,
    check_length,
    check_plan,
    check_positions,
    check_shared_keys,
    check_unpacked,
    guard_generation,
)
from visionflow.engines.hf.ids_apart import IdsApart
from visionflow.engines.hf.layer_hooks import LayerHooks, owner_of_hook
from visionflow.engines.hf.layer_kinds import attending, depth_of
from visionflow.engines.hf.passes import Pass, PromptPass
from visionflow.engines.hf.running import Running
from visionflow.engines.hf.static_caches import Loosened, check_static, goes_on, layouts_of
from visionflow.engines.hf.tower import TowerLook
from visionflow.engines.hf.watched import read, watch
from visionflow.errors import UnsupportedUsageError

_opening = threading.Lock()


class Scope:
    """Runs `plan` in every forward pass of `model` until removed; a context manager that yields its trace, or a handle.

    The model is unmodified: hooks on its merger, decoder and layers, and a copied config on the probed attention
    modules, all undone by `remove`, also after an exception. Several threads may call the model; the trace is of the
    latest prompt of any, and `remove` waits for those that still run.

    An answer may be read together with its prompt, as in teacher forcing: `answer_tokens` says how many of the last
    columns are of it. They stay, are no evidence, and read what they would read on the prompt's cache.

    Raises:
        UnsupportedModelError: the model's family or attention implementation is not supported.
        UnsupportedUsageError: a layer beyond the model's depth, another scope is open on this model, or an answer is to
            be read together with its prompt under a plan that does more than cut.
    """

    def __init__(
        self, model: PreTrainedModel, plan: Plan, make_trace: Callable[[int], Trace] = Trace, answer_tokens: int = 0
    ) -> None:
        self.model = model = adapted(model)
        self.family = family_of(model)
        self.plan = plan
        self._answer_tokens = answer_tokens
        if answer_tokens:
            check_answered(plan)
        self.layers = self.family.layers_of(model)
        plan.check_depth(depth_of(model.config))
        check_shared_keys(self.family, model, plan)
        check_compiled(self.layers, self.family.attention)
        self.backend = backend_of(model, self.family)
        check_backend(self.backend, model, plan)
        self._parameters = [_parameters_of(layer) for layer in self.layers]
        self._keyless = self.family.keyless(model)
        check_positions(self.family, model, plan)
        self._rotary = getattr(self.family.decoder_of(model), "rotary_emb", None)
        parts = (part for cut in plan.cuts for part in cut.evidence.parts)
        rows = {part.rows for part in parts if isinstance(part, Tower)}
        self._towers = {each: TowerLook(model, self.family.merger_of(model), each) for each in sorted(rows)}
        self.trace = make_trace(len(self.layers))
        self._local = threading.local()
        self._ids = IdsApart()
        self._running = Running()
        self._entered = False
        self._undo: list[Any] = []
        with _opening:
            if scope_on(self.layers[0]) is not None:
                raise UnsupportedUsageError(
                    "this model is in a pruning scope already, and scopes do not nest: leave that one first, by the "
                    "handle's remove() or visionflow.unprune(model)"
                )
            try:
                self._install()
            except BaseException:
                self.remove()
                raise

    def __enter__(self) -> Trace:
        self.enter()
        return self.trace

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def looks_at_tower(self) -> bool:
        """Whether the plan has evidence from the vision tower, which then has to run inside the scope."""
        return bool(self._towers)

    def enter(self) -> None:
        """What a `with` statement does first.

        Raises:
            UnsupportedUsageError: the scope was left, or another `with` is about to leave it.
        """
        if self._running.left or self._entered:
            raise UnsupportedUsageError(
                f"this pruning scope {'was left' if self._running.left else 'is entered'} already: "
                "open a new one, for example by prune(model, method)"
            )
        self._entered = True

    def remove(self) -> None:
        """Take off every hook and wrapper; the model is what it was. Calling it again does nothing.

        Waits for other threads that run a forward pass or `generate` inside.
        """
        self._running.leave(self._take_off)

    def _take_off(self) -> None:
        while self._undo:
            self._undo.pop()()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise UnsupportedUsageError(
            "a model inside a pruning scope cannot be copied or pickled: leave the scope first, by the handle's "
            "remove() or visionflow.unprune(model) (save_pretrained and state_dict work inside)"
        )

    # -- attaching ----------------------------------------------------------------------------------------------------

    def _install(self) -> None:
        merger, decoder = self.family.merger_of(self.model), self.family.decoder_of(self.model)
        self._merger_parameters = _parameters_of(merger)
        if self.family.ids_apart:
            self._undo += self._ids.follow(self.model)
        self._keep(merger.register_forward_pre_hook(self._begin, with_kwargs=True))
        self._keep(decoder.register_forward_hook(self._restore))  # first, where the decoder is the merger
        self._keep(merger.register_forward_hook(self._end, always_call=True))
        attended = self.plan.attended_layers(len(self.layers))
        self._layer_hooks = LayerHooks(self, self.layers, attended, self._before_layer)
        self._undo.append(self._layer_hooks.take_off)
        for index in attended:
            self._undo += watch(self.family.attention_of(self.layers[index]), index, self._active)
        for index in attending(self.backend.layers):
            of_layer = partial(self._columns, index)
            self._undo += count_by_column(self.family.attention_of(self.layers[index]), of_layer)
        for tower in self._towers.values():
            self._undo += tower.install()
        self._undo += shorten(decoder, lambda visual, features: self._active().picture_features(visual, features))
        if self.model.can_generate():
            check = partial(check_static, self.backend, self._keyless)
            self._undo.append(guard_generation(self.model, self._generation, check))

    def _keep(self, handle: RemovableHandle) -> None:
        self._undo.append(handle.remove)

    def _columns(self, layer: int) -> tuple[Tensor, Tensor] | None:
        return self._active().fitting.columns(layer)

    # -- one forward pass ---------------------------------------------------------------------------------------------

    def _active(self) -> Pass:
        forward: Pass | None = getattr(self._local, "forward", None)
        if forward is None:
            raise UnsupportedUsageError(
                "the text decoder was called by itself, so its image tokens are unknown: call the whole model"
            )
        return forward

    @contextmanager
    def _generation(self, ids: Tensor | None) -> Iterator[None]:
        """Around a call of `generate` for a prompt of `ids`."""
        outer = getattr(self._local, "pictured", None)
        with self._running.generation(), self._ids.noted(ids):
            self._local.pictured = False
            self._forget_pictures()
            try:
                yield
            finally:
                self._local.pictured = outer
                self._forget_pictures()

    def _forget_pictures(self) -> None:
        """What the tower showed this thread is not of the pictures that come next."""
        for tower in self._towers.values():
            tower.forget()

    def _begin(self, merger: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = {**dict(zip(self._merger_parameters, args, strict=False)), **kwargs}
        cache = cache_of(call)
        if goes_on(cache) and tokens_in(call).shape[1] == 1 and not has_pictures(call, self.family.image_inputs):
            return self._begin_step(call, cache)
        if not self._running.begin_pass():
            return None
        check_call(self.model, call)
        check_plan(self.family, self.plan, call)
        check_compiled(self.layers, self.family.attention)
        self._layer_hooks.follow_compilation()
        if getattr(self._local, "pictured", None) is None:  # generate may have had them encoded before
            self._forget_pictures()
        if isinstance(cache, StaticCache):
            return self._begin_static(call, cache)
        given = cache
        if cache is None and makes_cache(self.model, call):
            cache = new_cache(self.model.config)
        check_cache(cache := whole_cache(cache))
        self._local.forward = self._pass_of(call, cache)
        lead(cache, True)
        made = cache is not None and given is None
        return (args, {**kwargs, cache_name(self._merger_parameters): cache}) if made else None

    def _begin_static(self, call: dict[str, Any], cache: StaticCache) -> Any:
        """A prompt, or more of a conversation, on a static cache, whose layers grow meanwhile."""
        check_static(self.backend, self._keyless)
        length = tokens_in(call).shape[1]
        loosened = Loosened(cache, length, getattr(self.model.config.get_text_config(), "sliding_window", None))
        try:
            check_length(self.model, self.plan, loosened.columns)
            mask = call.get("attention_mask")
            if getattr(mask, "ndim", 0) == 2 or getattr(self._local, "pictured", None) is not None:
                call = {**call, "attention_mask": loosened.mask(mask, length)}  # generate made it for static layers
            self._local.forward = forward = self._pass_of(call, cache)
        except BaseException:
            loosened.end(None)
            raise
        forward.loosened = loosened
        lead(cache, True)
        return (), call

    def _begin_step(self, call: dict[str, Any], cache: StaticCache) -> None:
        """A token on a static cache: nothing is read from the device, and the whole pass may be compiled."""
        if not torch.compiler.is_compiling():
            if not self._running.begin_pass():
                return
            check_compiled(self.layers, self.family.attention)
            self._layer_hooks.follow_compilation()
        check_call(self.model, call)
        record = CacheRecord(layouts_of(cache, len(tokens_in(call))), cache.get_max_length() - 1)
        self._local.forward = Pass(record, 1, self.backend, self.family, cache, self._rotary)
        lead(cache, True)

    def _pass_of(self, call: dict[str, Any], cache: Any) -> Pass:
        """What begins with this call: a prompt, a turn with pictures, or what goes on without any."""
        ids = call.get("input_ids")
        apart = self._ids.take(call.get("inputs_embeds")) if self.family.ids_apart and ids is None else None
        ids = ids if apart is None else apart
        batch, length = (tokens_in(call) if ids is None else ids).shape[:2]
        record = CacheRecord.of(cache, self.backend.layers, self._keyless, batch)
        past = record.total
        check_length(self.model, self.plan, past + length)
        pictures = apart is not None or has_pictures(call, self.family.image_inputs)
        if past and not pictures:
            return Pass(record, length, self.backend, self.family, cache, self._rotary)
        if ids is None:
            raise UnsupportedUsageError("inputs_embeds do not tell which tokens are image tokens: pass input_ids")
        image_token_ids = self.family.image_token_ids(self.model) if pictures else None
        tokens = find_tokens(ids, call.get("attention_mask"), image_token_ids, past, self._answer_tokens)
        if any(tokens.image.counts):
            check_unpacked(call, tokens, masks_tell=self.backend.kind != "keys")
        trace = self.trace.of_turn(batch) if past else self.trace.of_prompt(batch)
        parts = (tokens, record, trace, self.backend, cache, self._rotary, self._towers)
        return PromptPass(self.plan, self.family, *parts)

    def _before_layer(self, layer: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        forward = self._active()
        if layer == 0:
            forward.cache = cache_of(kwargs)  # the decoder may have made its own
        if forward.fitting.leaves_alone and len(args) == 1 and kwargs.get("attention_mask") is None:
            return None
        kwargs = {**dict(zip(self._parameters[layer], args, strict=False)), **kwargs}
        masks = forward.masks if self.backend.layers[layer].attends else Masks()
        kwargs["attention_mask"] = masks.gatherable(kwargs.get("attention_mask"))
        look = partial(read, forward, self.layers[layer], layer)
        hidden, kwargs = forward.enter(layer, kwargs.pop("hidden_states"), kwargs, look)
        return (hidden,), {**kwargs, "attention_mask": masks.native(kwargs.get("attention_mask"))}

    def _restore(self, decoder: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        forward = self._active()
        if isinstance(output, tuple):
            return (forward.restore(output[0]), *output[1:])
        output.last_hidden_state = forward.restore(output.last_hidden_state)
        return output

    def _end(self, merger: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        forward: Pass | None = getattr(self._local, "forward", None)
        self._local.forward = None
        if forward is not None:
            lead(forward.cache, False)
            if isinstance(forward, PromptPass) and output is not None:
                self._tell(forward)
            if forward.cache is not None and output is not None:
                forward.leave()
            if forward.loosened is not None:
                forward.loosened.end(None if output is None else forward.fitting.total)
        if not torch.compiler.is_compiling():
            self._running.end_pass()

    def _tell(self, forward: PromptPass) -> None:
        """Let the trace tell of a prompt.

        In one call of `generate` a prompt without pictures stands beside one with pictures, and is no news: it is what
        classifier-free guidance compares with.
        """
        beside = getattr(self._local, "pictured", None)
        if forward.pictured or not beside:
            vars(self.trace).update(vars(forward.trace))
        if beside is not None:
            self._local.pictured = beside or forward.pictured


def scope_on(model: nn.Module) -> Scope | None:
    """The scope that is open on a model, or on a part or a wrapper of it."""
    return next((owner for module in model.modules() if (owner := owner_of_hook(module)) is not None), None)


def adapted(model: Any) -> Any:
    """The model inside a wrapper of peft, adapters included; any other as it is."""
    return model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model


def _parameters_of(module: nn.Module) -> list[str]:
    """Names of what a module takes, in their order."""
    return list(inspect.signature(module.forward).parameters)
